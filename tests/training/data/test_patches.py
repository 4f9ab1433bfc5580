"""Patches: where they lie, how they are damaged, and that nothing but the seed decides."""

import hashlib

import numpy as np
import pytest
import torch
from image_folders import random_picture, recipe_of, write

from mambairv2.images.degradation.compression import draw_quality
from mambairv2.images.folders import list_images
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.training.data.image_cache import open_cache
from mambairv2.training.data.patches import Patches, loader, micro_batches, share
from mambairv2.training.recipe import DataPart, Recipe


def _contains(image, patch):
    turned = [np.rot90(flip, turn, (1, 2)) for flip in (patch, patch[:, :, ::-1]) for turn in range(4)]
    windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), (0, 1))
    return any((windows == t).all((-3, -2, -1)).any() for t in turned)


def test_paired_folders(folder, tmp_path):
    for path in list_images([folder]):
        pixels = read_image(path)
        pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        small = 255 - imresize(pixels, 0.5)
        write(tmp_path / "low" / path.relative_to(folder).parent / f"{path.stem}x2.png", small)
    cache = open_cache([folder], 2, 3, [tmp_path / "low"], tmp_path / "cache")
    assert not cache.skipped
    patches = Patches(cache, recipe_of(input_folders=["low"]).data, (0,))
    source, target = patches[0, 0, 8]
    assert torch.corrcoef(torch.stack((source.flatten(), target[:, ::2, ::2].flatten())))[0, 1] < -0.1


@pytest.mark.parametrize("sampling", ["images", "area", "detail"])
def test_patches_lie_where_they_should(folder, tmp_path, sampling):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, recipe_of(sampling=sampling).data, (3,))
    halves = {
        entry.file: imresize(read_image(folder / entry.file)[: entry.height * 2, : entry.width * 2], 0.5)
        for entry in cache.entries
    }
    for slot in range(40):
        source, target = patches[7, slot, 8]
        assert source.shape == (3, 8, 8)
        assert target.shape == (3, 16, 16)
        assert any(_contains(half, (source * 255).round().byte().numpy()) for half in halves.values())


@pytest.mark.parametrize("task", ["sr", "photo"])
def test_flat_patches_are_one_colour_and_the_others_stay(folder, tmp_path, task):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")
    patches, plain = (Patches(cache, recipe_of(task=task, flat=flat).data, (3,)) for flat in (0.4, 0.0))
    flat = [target for _, target in (patches[0, slot, 8] for slot in range(80)) if target.std((1, 2)).max() == 0]
    assert 20 < len(flat) < 44
    colours = torch.stack([target[:, 0, 0] for target in flat])
    saturated = ((colours == 0) | (colours == 1)).all(1).float().mean()
    assert 0.25 < saturated < 0.75
    if task == "sr":
        pairs = [pair for pair in (patches[0, slot, 8] for slot in range(80)) if pair[1].std((1, 2)).max() == 0]
        assert all(torch.equal(source, target[:, ::2, ::2]) for source, target in pairs)
        places = [torch.equal(patches[0, k, 8][1], plain[0, k, 8][1]) for k in range(80)]
        assert sum(places) == 80 - len(flat)


def test_detail_is_drawn_more_often(tmp_path):
    pixels = np.full((64, 256, 3), 100, np.uint8)
    pixels[:, 128:] = random_picture(64, 128)
    write(tmp_path / "half.png", pixels)
    cache = open_cache([tmp_path], 1, 3, cache_dir=tmp_path / "cache")
    share_of = {}
    for sampling in ("area", "detail"):
        part = DataPart(task="denoise", patch=16, sampling=sampling)
        corners = [Patches(cache, part, (0,)).place(np.random.default_rng(k), 16)[2] for k in range(200)]
        share_of[sampling] = np.mean([left > 112 for left in corners])
    assert share_of["area"] < 0.7 < 0.85 < share_of["detail"]


def test_the_same_patches_whatever_the_workers_and_pieces(folder, tmp_path):
    cache = open_cache([folder], 2, 3, cache_dir=tmp_path / "cache")

    def stream(start=0, rank=0, world=1, **train):
        recipe = recipe_of()
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
    pieces = micro_batches(recipe_of(), 1)
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
    patches = Patches(cache, recipe_of(sampling="detail").data, (0,))
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


@pytest.mark.parametrize(("draw", "median"), [("even", 50), ("low", 30)])
def test_qualities_fill_their_range(draw, median):
    drawn = sorted(draw_quality(10, 90, draw, np.random.default_rng(k)) for k in range(2000))
    assert drawn[0] == 10
    assert 88 <= drawn[-1] <= 90
    assert abs(drawn[1000] - median) <= 3


# SHA-256 of the first inputs and targets, from before tasks and degradations became lists
RECORDED = [
    (2, {"task": "sr", "sampling": "detail"}, "876090db4018e91b"),
    (1, {"task": "denoise", "sigma": [5, 50]}, "b8718cf658d43ac3"),
    (1, {"task": "jpeg", "quality": [10, 90]}, "0b9f6378ee9c99ff"),
    (1, {"task": "jpeg", "quality": [10, 90], "quality_draw": "low"}, "d12e3191b1b6462a"),
]


@pytest.mark.parametrize(("scale", "data", "recorded"), RECORDED)
def test_patches_are_the_same_as_ever(folder, tmp_path, scale, data, recorded):
    cache = open_cache([folder], scale, 3, cache_dir=tmp_path / "cache")
    patches = Patches(cache, DataPart(patch=8, **data), (3, 0))
    digest = hashlib.sha256()
    for slot in range(6):
        for tensor in patches[7, slot, 8]:
            digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest()[:16] == recorded


PHOTO = [
    {"kind": "blur", "sigma": [0.5, 1.5], "shapes": ["isotropic", "motion"]},
    {"kind": "resize", "scale": [0.7, 1.2], "probability": 0.5},
    {"kind": "shrink"},
    {"kind": "noise", "sigma": [0, 8], "models": ["gaussian", "poisson"], "grey": 0.5},
    {"kind": "jpeg", "quality": [35, 95], "probability": 0.8},
]


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("steps", [PHOTO, []])
def test_photographs_are_damaged_by_the_key_alone(tmp_path, scale, steps):
    write(tmp_path / "images" / "one.png", random_picture(80, 96))
    cache = open_cache([tmp_path / "images"], scale, 3, cache_dir=tmp_path / "cache")
    part = DataPart(task="photo", patch=8, degradations=steps, degradation_order="random", clean=0.25)
    patches, again = (Patches(cache, part, (1, 0)) for _ in range(2))
    pairs = [patches[5, slot, 8] for slot in range(24)]
    for slot in (23, 3, 11):
        assert all(torch.equal(a, b) for a, b in zip(again[5, slot, 8], pairs[slot], strict=True))
    assert {source.shape for source, _ in pairs} == {(3, 8, 8)}
    assert {target.shape for _, target in pairs} == {(3, 8 * scale, 8 * scale)}
    assert len({source.numpy().tobytes() for source, _ in pairs}) == 24
    if scale == 1:  # a clean input is the target
        assert 1 <= sum(torch.equal(source, target) for source, target in pairs) <= 12


def test_input_and_target_show_the_same_place(tmp_path):
    """A ramp tells where a patch lies: shrinking keeps it, however the patch is turned and wherever its margins end."""
    y, x = np.mgrid[:64, :80]
    write(tmp_path / "images" / "ramp.png", np.stack([3 * x, 3 * y, x + y], 2).astype(np.uint8))
    cache = open_cache([tmp_path / "images"], 2, 3, cache_dir=tmp_path / "cache")
    part = DataPart(task="photo", patch=12, degradations=[{"kind": "blur", "sigma": [0.3, 0.6]}])
    patches = Patches(cache, part, (0, 0))
    for slot in range(40):
        source, target = patches[0, slot, 12]
        means = torch.nn.functional.avg_pool2d(target[None], 2)[0]
        inside = (slice(None), slice(2, -2), slice(2, -2))  # the border of the image is mirrored
        torch.testing.assert_close(source[inside], means[inside], atol=1.6 / 255, rtol=0)
