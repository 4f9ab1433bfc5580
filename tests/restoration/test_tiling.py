from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.restoration.grid import Grid, spans
from mambairv2.restoration.tiling import ramps, restore_rows
from stand_in import StandIn

sides = st.integers(1, 3000)
units = st.integers(1, 12)


@given(size=sides, tile=units, overlap=st.integers(0, 11))
def test_spans_cover_every_pixel_and_share_the_overlap(size, tile, overlap):
    tile, overlap = 16 * (overlap + tile), 16 * overlap
    found = spans(size, tile, overlap, 16)
    assert found[0].start == 0
    assert found[-1].stop == size
    assert all(0 < s.stop - s.start <= tile and s.start % 16 == 0 for s in found)
    for left, right in pairwise(found):
        assert left.start < right.start
        assert left.stop < right.stop
        assert left.stop - right.start >= overlap


@given(size=sides, tile=units, overlap=st.integers(0, 11), scale=st.integers(1, 4))
@settings(max_examples=50)
def test_weights_add_up_to_one_everywhere(size, tile, overlap, scale):
    found = spans(size, 16 * (overlap + tile), 16 * overlap, 16)
    total = torch.zeros(size * scale, dtype=torch.float64)
    for span, weight in zip(found, ramps(found, scale), strict=True):
        assert ((weight >= 0) & (weight <= 1)).all()
        total[span.start * scale : span.stop * scale] += weight
    assert (total - 1).abs().max() < 1e-6


def test_pixels_beside_a_cut_are_left_to_the_neighbour():
    found = spans(400, 256, 16, 16)
    left, right = ramps(found, 2)
    margin = 2 * 4
    assert (left[-margin:] == 0).all()
    assert (right[:margin] == 0).all()
    assert (left[: found[1].start * 2] == 1).all()
    assert ramps(spans(512, 256, 0, 16), 2)[0].min() == 1  # without an overlap there is nothing to leave


def test_no_more_tiles_than_needed():
    assert len(spans(256, 256, 32, 16)) == 1
    assert len(spans(257, 256, 32, 16)) == 2
    assert [s.stop - s.start for s in spans(300, 256, 32, 16)] == [176, 172]  # even, not 256 and a rest


def _tiled(network, image, tile, overlap, progress=None):
    grid = Grid(tuple(image.shape[1:]), network.config.upscale, tile, overlap)

    def run(x):
        return network(x[None])[0]

    with torch.inference_mode():
        return torch.cat(list(restore_rows(run, lambda r, c: image[:, r, c], grid, progress)), 1)


@given(height=st.integers(1, 200), width=st.integers(1, 200), scale=st.sampled_from([1, 2, 3]))
@settings(max_examples=25, deadline=None)
def test_a_network_that_only_enlarges_gives_the_same_image_whatever_the_tiles(height, width, scale):
    image = torch.rand(3, height, width)
    network = StandIn(scale)
    network.forward = lambda x: torch.nn.functional.interpolate(x, scale_factor=scale)
    assert torch.allclose(_tiled(network, image, 64, 16), _tiled(network, image, None, 16), atol=1e-6)


@pytest.mark.parametrize("size", [(150, 210), (64, 300), (333, 17)])
def test_inside_the_overlap_tiled_equals_whole(size):
    """Tiles differ from the whole only within the blur of their border, where the overlap's ramp is small."""
    image, network = torch.rand(3, *size), StandIn()
    whole, tiled = _tiled(network, image, None, 16), _tiled(network, image, 96, 32)
    assert tiled.shape == whole.shape == (3, 2 * size[0], 2 * size[1])
    error = (tiled - whole).abs()
    assert error.max() < 0.05
    assert (error > 1e-6).float().mean() < 0.15
    assert error.square().mean() < 1e-5


def test_a_network_that_sees_no_further_than_its_tile_is_exact():
    """With borders fed from the image, a local network tiled equals the whole to rounding."""
    image = torch.rand(3, 150, 170)
    network = StandIn(1)
    padded = torch.nn.functional.pad(image[None], (2, 2, 2, 2), mode="replicate")[0]
    whole = torch.nn.functional.conv2d(padded[None], network.kernel, groups=3)[0]
    grid = Grid((150, 170), 1, 64, 16)

    def read(rows, columns):
        return padded[:, rows.start : rows.stop + 4, columns.start : columns.stop + 4]

    def run(x):
        return torch.nn.functional.conv2d(x[None], network.kernel, groups=3)[0]

    tiled = torch.cat(list(restore_rows(run, read, grid)), 1)
    assert (tiled - whole).abs().max() < 1e-6


def test_rows_come_out_as_they_are_finished_and_progress_counts_tiles():
    image, network, told = torch.rand(3, 300, 100), StandIn(), []
    grid = Grid((300, 100), 2, 96, 16)
    rows = restore_rows(lambda x: network(x[None])[0], lambda r, c: image[:, r, c], grid, lambda *a: told.append(a))
    first = next(rows)
    assert len(network.seen) == 2  # one row of tiles, no more
    assert first.shape[1] < 2 * 96
    assert first.shape[1] + sum(part.shape[1] for part in rows) == 600
    assert told == [(k, 8) for k in range(1, 9)]


def test_raising_in_progress_cancels():
    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _tiled(StandIn(), torch.rand(3, 100, 100), 64, 16, cancel)


def test_an_image_within_a_tile_is_one_call():
    network = StandIn()
    _tiled(network, torch.rand(3, 64, 50), 64, 16)
    assert network.seen == [(1, 3, 64, 50)]


@pytest.mark.parametrize(("tile", "overlap"), [(100, 16), (64, 10), (32, 32), (16, 32), (64, -16), (0, 0)])
def test_values_that_make_no_grid_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="multiple of 16"):
        Grid((50, 50), 2, tile, overlap)
