"""The margin: how a picture is mirrored beyond its edges, and that flat colours stay flat up to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mambairv2 import Restorer
from mambairv2.restoration.grid import Grid
from mambairv2.restoration.margin import mirror, read_mirrored
from mambairv2.restoration.tiling import restore_rows
from mambairv2.weights.packaged import PRETRAINED, pretrained
from shared_data import CHECKPOINT
from stand_in import StandIn, load, picture, pixels, restorer

sides = st.integers(1, 300)
COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (200, 120, 40),
    (0, 0, 0),
    (128, 128, 128),
    (255, 255, 255),
]


class Padded(StandIn):
    """The stand-in with zeros beyond the edges, as the convolutions of the real network have them."""

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        large = F.interpolate(x, scale_factor=self.config.upscale, mode="nearest")
        return F.conv2d(F.pad(large, (2, 2, 2, 2)), self.kernel, groups=x.shape[1])


@given(length=st.integers(1, 40), before=st.integers(0, 90), after=st.integers(0, 90))
@example(length=1, before=16, after=23)
def test_positions_are_those_of_numpys_symmetric_padding(length, before, after):
    expected = np.pad(np.arange(length), (before, after), "symmetric")
    assert np.array_equal(mirror(slice(-before, length + after), length).numpy(), expected)


@given(height=sides, width=sides, top=st.integers(-40, 200), left=st.integers(-40, 200), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_a_rectangle_is_that_of_the_mirrored_picture_and_no_more_than_needed_is_read(height, width, top, left, seed):
    top, left = min(top, height - 1), min(left, width - 1)
    rows, columns = slice(top, max(top, 0) + 1 + 7 * seed), slice(left, max(left, 0) + 50)
    image, asked = torch.rand(3, height, width), []

    def read(down, across):
        asked.append((down, across))
        assert 0 <= down.start < down.stop <= height
        assert 0 <= across.start < across.stop <= width
        return image[:, down, across]

    found = read_mirrored(read, (height, width), rows, columns)
    whole = np.pad(image.numpy(), ((0, 0), (40, 120), (40, 120)), "symmetric")
    expected = whole[:, rows.start + 40 : rows.stop + 40, columns.start + 40 : columns.stop + 40]
    assert np.array_equal(found.numpy(), expected)
    [(down, across)] = asked
    assert down.stop - down.start <= rows.stop - rows.start
    assert across.stop - across.start <= columns.stop - columns.start


@given(
    size=st.tuples(sides, sides), tile=st.sampled_from([None, 32, 64, 96, 256]), window=st.sampled_from([4, 8, 16, 32])
)
def test_windows_lie_as_they_do_without_a_margin(size, tile, window):
    tile = None if tile is None else tile + window
    plain = Grid(size, 2, tile, 0, window)
    grid = Grid(size, 2, tile, 0, window, margin=True)
    assert (grid.rows, grid.columns) == (plain.rows, plain.columns)
    assert (plain.seen_rows, plain.seen_columns) == (plain.rows, plain.columns)
    for spans, seen, length in ((grid.rows, grid.seen_rows, size[0]), (grid.columns, grid.seen_columns, size[1])):
        assert seen[0].start <= -8
        assert seen[-1].stop >= length + 8
        assert [span.start for span in spans[1:]] == [span.start for span in seen[1:]]
        assert [span.stop for span in spans[:-1]] == [span.stop for span in seen[:-1]]
        assert all(span.start % window == 0 and span.stop % window == 0 for span in seen)
    largest = [max(span.stop - span.start for span in seen) for seen in (grid.seen_rows, grid.seen_columns)]
    assert grid.largest == plain.largest
    assert grid.largest_seen == tuple(largest)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 17), (130, 97)])
@pytest.mark.parametrize("tile", [None, 32, 64])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_network_sees_the_mirrored_picture_and_only_the_picture_comes_out(size, tile, scale):
    """Whole or in tiles, the result is that of the picture padded by hand; zero padding stays outside."""
    image, network = torch.rand(3, *size), Padded(scale)
    grid = Grid(size, scale, tile, 16, 16, margin=True)
    with torch.inference_mode():
        found = torch.cat(list(restore_rows(lambda x: network(x[None])[0], lambda r, c: image[:, r, c], grid)), dim=1)
        mirrored = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (16, 16), (16, 16)), "symmetric"))
        expected = network(mirrored[None])[0, :, 16 * scale :, 16 * scale :]
    assert found.shape == (3, scale * size[0], scale * size[1])
    error = (found - expected[:, : found.shape[1], : found.shape[2]]).abs()
    assert error.max() < 1e-6
    flat = torch.cat(
        list(restore_rows(lambda x: network(x[None])[0], lambda r, c: torch.ones_like(image)[:, r, c], grid)), dim=1
    )
    assert (flat - 1).abs().max() < 1e-6


def test_a_picture_within_a_tile_is_one_call_and_the_margin_comes_on_top():
    network = StandIn()
    Restorer(network, "cpu", tile=64).restore(pixels(64, 50, 3))
    Restorer(network, "cpu", tile=64, margin=False).restore(pixels(64, 50, 3))
    assert network.seen == [(1, 3, 96, 80), (1, 3, 64, 50)]


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_tensors_and_files_get_the_same_margin(tmp_path, channels, ensemble):
    values = pixels(21, 34, channels)
    picture(21, 34, channels).pngsave(str(tmp_path / "in.png"))
    one = Restorer(Padded(), "cpu", self_ensemble=ensemble)
    one.restore_file(tmp_path / "in.png", tmp_path / "out.png")
    found = one.restore(values)
    assert np.array_equal(load(tmp_path / "out.png").numpy().reshape(found.shape), found)
    assert np.array_equal(one.restore(torch.from_numpy(values).permute(2, 0, 1)).permute(1, 2, 0).numpy(), found)
    without = Restorer(Padded(), "cpu", self_ensemble=ensemble, margin=False).restore(values)
    assert without[0, 0, 0] < found[0, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("tile", ["whole", 32])
def test_margins_need_no_more_than_a_pixel(dtype, tile):
    one = Restorer(Padded(3), "cpu", tile=tile)
    for height, width in [(1, 1), (1, 40), (40, 1), (2, 3)]:
        values = pixels(1, 1, 3, dtype).repeat(height, 0).repeat(width, 1)
        made = one.restore(values)
        assert made.shape == (3 * height, 3 * width, 3)
        assert np.abs(made.astype(float) - values[0, 0]).max() <= (1e-6 if dtype == "float32" else 1)


def test_an_estimate_counts_the_margin():
    """Memory of the tile that the network sees, and time for all that it sees."""
    told = []
    for margin in (False, True):
        one = restorer(tile=64, margin=margin)
        one._forecaster._pace = 1.0
        told.append(one._forecaster.estimate([_Large()], one.plan((100, 64))))
    assert [one.tile for one in told] == [(64, 64), (64, 64)]
    assert [one.seconds for one in told] == [(64 + 52) * 64, (80 + 64) * 96]
    assert told[0].memory < told[1].memory


class _Large:
    size, channels, alpha, depth = (100, 64), 3, None, np.dtype(np.uint8)


def off(one, colours, sizes):
    """The most levels that a flat picture is off anywhere."""
    flat = [np.full((*size, 3), colour, np.uint8) for size in sizes for colour in colours]
    return max(int(np.abs(one.restore(image).astype(int) - image[0, 0]).max()) for image in flat)


@pytest.mark.parametrize(
    "name",
    [
        *pretrained(),
        pytest.param(
            "checkpoint", marks=pytest.mark.skipif(not CHECKPOINT.is_file(), reason=f"no checkpoint {CHECKPOINT}")
        ),
    ],
)
def test_flat_colours_stay_flat_up_to_the_edge(name):
    one = Restorer(CHECKPOINT if name == "checkpoint" else name, "cpu")
    assert off(one, COLOURS, [(7, 5)]) <= 2
    assert off(one, COLOURS[:1] + COLOURS[-1:], [(1, 1), (40, 30)]) <= 2


@pytest.mark.parametrize("name", ["photo-x2", "photo-x4"])
def test_networks_for_photographs_change_flat_colours_as_their_cards_say(name):
    """They do so in the whole area, up to the edge; grey, black and white stay as they are."""
    one = Restorer(name, "cpu")
    assert "up to 2 levels" in (PRETRAINED / f"{name}.md").read_text()
    assert off(one, COLOURS, [(7, 5), (40, 30)]) <= 2
    assert off(one, COLOURS[-3:], [(7, 5), (40, 30)]) == 0


def test_without_a_margin_they_do_not():
    assert off(Restorer("sr-x2", "cpu", margin=False), COLOURS[:1], [(7, 5)]) > 10


def test_flat_colours_stay_flat_in_tiles_and_by_self_ensemble():
    assert off(Restorer("sr-x2", "cpu", tile=64), COLOURS[:2], [(70, 30)]) <= 2
    assert off(Restorer("sr-x2", "cpu", self_ensemble=True), COLOURS[:2], [(9, 20)]) <= 2
