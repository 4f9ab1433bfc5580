import os
import subprocess
import sys

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.images.degradation import jpeg, protocol_noise
from mambairv2.images.folders import list_images
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.training.data.image_cache import detail, open_cache
from mambairv2.training.data.patches import Patches, loader, micro_batches, share
from mambairv2.training.recipe import DataPart, Recipe


def _write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))


def _picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number, (height, width) in enumerate([(40, 61), (33, 48), (70, 36)]):
        _write(tmp_path / "images" / f"part{number % 2}" / f"{number}.png", _picture(height, width, number))
    return tmp_path / "images"


def _recipe(**data):
    return Recipe.model_validate({"data": {"patch": 8, **data}, "train": {"iterations": 6, "total_batch": 5}})


def test_cache_holds_every_pixel_and_its_matlab_half(folder, tmp_path):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert len(cache.entries) == 3
    for entry in cache.entries:
        target = read_image(folder / entry.file, 3)[: entry.height * 2, : entry.width * 2]
        half = imresize(target, 0.5)
        for flat, start, pixels in (
            (cache.pixels("target"), entry.target, target),
            (cache.pixels("input"), entry.input, half),
        ):
            np.testing.assert_array_equal(flat[start : start + pixels.size], pixels.reshape(-1))


def test_cache_is_reused_until_a_file_changes(folder, tmp_path):
    first = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder == first.folder
    _write(folder / "new.png", _picture(40, 40))
    assert open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder != first.folder
    assert not list((tmp_path / "cache").glob("*.*"))


DECODE = """
import sys, time
from pathlib import Path
from mambairv2.training.data.image_cache import open_cache
def stall(done, total):
    if done == 2:
        print("decoding", flush=True)
        time.sleep(60)
open_cache([Path(sys.argv[1])], 2, 3, cache_dir=Path(sys.argv[2]), tick=stall)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks that tell what a killed process left")
def test_decoding_that_was_killed_leaves_nothing_behind(folder, tmp_path):
    command = [sys.executable, "-c", DECODE, str(folder), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"decoding\n"
    (unfinished,) = (tmp_path / "cache").iterdir()
    grey = open_cache([folder], 2, 1, cache_dir=tmp_path / "cache").folder
    assert unfinished.is_dir()  # a live process's is left alone
    process.kill()
    process.communicate()
    whole = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache").folder
    assert set((tmp_path / "cache").iterdir()) == {grey, whole}


def test_broken_images_are_left_out_and_named(folder, tmp_path):
    whole = (folder / "part0" / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    assert len(cache.entries) == 3
    assert {"cut.png", "text.jpg"} == {fault.split(":")[0].split("/")[-1] for fault in cache.skipped}


def test_nothing_readable_says_why(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png"):
        open_cache([tmp_path], 2, 3, cache_dir=tmp_path / "cache")


def test_paired_folders(folder, tmp_path):
    for path in list_images([folder]):
        pixels = read_image(path)
        pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        small = 255 - imresize(pixels, 0.5)
        _write(tmp_path / "low" / path.relative_to(folder).parent / f"{path.stem}x2.png", small)
    cache = open_cache([folder], 2, 3, [tmp_path / "low"], tmp_path / "cache")
    assert not cache.skipped
    patches = Patches(cache, _recipe(input_folders=["low"]).data, (0,))
    source, target = patches[0, 0, 8]
    assert torch.corrcoef(torch.stack((source.flatten(), target[:, ::2, ::2].flatten())))[0, 1] < -0.1


@pytest.mark.parametrize("sampling", ["images", "area", "detail"])
def test_patches_lie_where_they_should(folder, tmp_path, sampling):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, _recipe(sampling=sampling).data, (3,))
    halves = {
        entry.file: imresize(read_image(folder / entry.file)[: entry.height * 2, : entry.width * 2], 0.5)
        for entry in cache.entries
    }
    for slot in range(40):
        source, target = patches[7, slot, 8]
        assert source.shape == (3, 8, 8)
        assert target.shape == (3, 16, 16)
        assert any(_contains(half, (source * 255).round().byte().numpy()) for half in halves.values())


def _contains(image, patch):
    turned = [np.rot90(flip, turn, (1, 2)) for flip in (patch, patch[:, :, ::-1]) for turn in range(4)]
    windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), (0, 1))
    return any((windows == t).all((-3, -2, -1)).any() for t in turned)


def test_detail_is_drawn_more_often(tmp_path):
    pixels = np.full((64, 256, 3), 100, np.uint8)
    pixels[:, 128:] = _picture(64, 128)
    _write(tmp_path / "half.png", pixels)
    cache = open_cache([tmp_path], 1, 3, cache_dir=tmp_path / "cache")
    share_of = {}
    for sampling in ("area", "detail"):
        part = DataPart(task="denoise", patch=16, sampling=sampling)
        corners = [Patches(cache, part, (0,)).place(np.random.default_rng(k), 16)[2] for k in range(200)]
        share_of[sampling] = np.mean([left > 112 for left in corners])
    assert share_of["area"] < 0.7 < 0.85 < share_of["detail"]


def test_detail_by_hand():
    pixels = np.zeros((40, 64, 1), np.uint8)
    pixels[:, 32:] = 64
    np.testing.assert_allclose(detail(pixels), [[0, 2], [0, 2]])


def test_the_same_patches_whatever_the_workers_and_pieces(folder, tmp_path):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")

    def stream(start=0, rank=0, world=1, **train):
        recipe = _recipe()
        workers = train.pop("workers", 0)
        recipe = recipe.model_copy(
            update={
                "train": recipe.train.model_copy(update=train),
                "data": recipe.data.model_copy(update={"workers": workers}),
            }
        )
        batches = loader(Patches(cache, recipe.data, (0,)), recipe, start, rank, world)
        return torch.cat([source for source, _ in batches])

    before = torch.random.get_rng_state()
    whole = stream()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(stream(micro_batch=2), whole)
    assert torch.equal(stream(workers=2), whole)
    assert torch.equal(stream(start=4), whole[20:])
    parts = stream(rank=0, world=2).view(6, 2, 3, 8, 8), stream(rank=1, world=2).view(6, 3, 3, 8, 8)
    assert torch.equal(torch.cat(parts, 1).flatten(0, 1), whole)


def test_share_covers_the_batch_and_refuses_idle_processes():
    assert [list(share(5, rank, 3)) for rank in range(3)] == [[0], [1, 2], [3, 4]]
    with pytest.raises(ValueError, match="2 cannot be spread over 3"):
        share(2, 0, 3)
    pieces = micro_batches(_recipe(), 1)
    assert pieces == [[(1, slot, 8) for slot in range(5)]]


def test_growing_patches():
    recipe = Recipe.model_validate(
        {
            "train": {
                "iterations": 9,
                "total_batch": 8,
                "stages": [{"start": 5, "patch": 96, "total_batch": 2}],
            }
        }
    )
    assert recipe.stage(4) == (64, 8)
    assert recipe.stage(5) == (96, 2)


def test_images_smaller_than_the_patch_are_never_drawn(folder, tmp_path):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, _recipe(sampling="detail").data, (0,))
    assert {patches.place(np.random.default_rng(k), 17)[0].file[-5] for k in range(60)} == {"0", "2"}
    with pytest.raises(ValueError, match="none of the 3 images holds a patch of 200"):
        patches[0, 0, 100]


def test_noise_has_its_strength_and_is_not_clipped(folder, tmp_path):
    cache = open_cache([folder], 1, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, DataPart(task="denoise", patch=32, sigma=[5, 50]), (0,))
    strengths = [float((source - target).std()) * 255 for source, target in (patches[0, k, 32] for k in range(60))]
    assert 4 < min(strengths) < 15
    assert 40 < max(strengths) < 52
    assert patches[0, 1, 32][0].max() > 1


def test_protocol_noise_is_the_same_for_every_image():
    flat = np.full((20, 20, 3), 128, np.uint8)
    noise = protocol_noise(flat, 25) - 128 / 255
    expected = np.random.RandomState(0).normal(0, 25 / 255, (20, 20, 3))
    np.testing.assert_allclose(noise[..., ::-1], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_really_encodes(channels):
    y, x = np.indices((48, 64))
    pixels = np.stack([(128 + 100 * np.sin((x + k * y) / 9)).astype(np.uint8) for k in range(channels)], 2)
    errors = [float(np.abs(jpeg(pixels, q).astype(int) - pixels).mean()) for q in (10, 40, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    with pytest.raises(ValueError, match="101"):
        jpeg(pixels, 101)


@pytest.mark.parametrize(("draw", "median"), [("even", 50), ("low", 30)])
def test_qualities_fill_their_range(folder, tmp_path, draw, median):
    cache = open_cache([folder], 1, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, DataPart(task="jpeg", patch=8, quality=[10, 90], quality_draw=draw), (0,))
    drawn = sorted(patches._quality(np.random.default_rng(k)) for k in range(2000))
    assert drawn[0] == 10
    assert 88 <= drawn[-1] <= 90
    assert abs(drawn[1000] - median) <= 3
