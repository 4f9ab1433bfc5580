"""The recipes in the repository: every one valid, the published ones with the published numbers."""

import re
from pathlib import Path

import pytest

from mambairv2.training.recipe import load_recipe
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import pretrained

RECIPES = Path(__file__).parents[2] / "recipes"
FULL, HALF = (250000, 400000, 450000, 475000), (125000, 200000, 225000, 237500)
LONG, SHORT = (800000, 1200000, 1400000, 1500000), (400000, 600000, 700000, 750000)

# total batch, iterations, milestones, lr, loss, patch, begins with the weights of
PUBLISHED = {
    "light-x2": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "light-x3": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "light-x4": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "small-x2": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "small-x3": (32, 250000, HALF, 1e-4, "l1", 64, "small-x2"),
    "small-x4": (32, 250000, HALF, 1e-4, "l1", 64, "small-x2"),
    "base-x2": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "base-x3": (32, 250000, HALF, 1e-4, "l1", 64, "base-x2"),
    "base-x4": (32, 250000, HALF, 1e-4, "l1", 64, "base-x2"),
    "large-x2": (32, 500000, FULL, 2e-4, "l1", 64, ""),
    "large-x3": (32, 250000, HALF, 1e-4, "l1", 64, "large-x2"),
    "large-x4": (32, 250000, HALF, 1e-4, "l1", 64, "large-x2"),
    "base-denoise-15": (8, 1600000, LONG, 2e-4, "charbonnier", 128, ""),
    "base-denoise-25": (8, 800000, SHORT, 1e-4, "charbonnier", 128, "base-denoise-15"),
    "base-denoise-50": (8, 800000, SHORT, 1e-4, "charbonnier", 128, "base-denoise-15"),
    "base-jpeg-40": (8, 1600000, LONG, 2e-4, "charbonnier", 126, ""),
    "base-jpeg-30": (8, 800000, SHORT, 1e-4, "charbonnier", 126, "base-jpeg-40"),
    "base-jpeg-10": (8, 800000, SHORT, 1e-4, "charbonnier", 126, "base-jpeg-40"),
}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_begins_with_a_run_of_another(path):
    recipe = load_recipe(path)
    recipe.model.config()
    assert recipe.description
    if recipe.model.start_from in pretrained():
        scale = load_model(recipe.model.start_from).config.upscale
        assert recipe.model.warm_start == (scale != recipe.model.upscale)  # another scale: its head is solved for
        assert recipe.model.variant == "light"
    elif recipe.model.start_from.startswith("weights/"):  # of others, for a teacher
        assert recipe.model.warm_start
    elif recipe.model.start_from:
        run, file = recipe.model.start_from.removeprefix("runs/").split("/")
        assert file == "ema.safetensors"
        earlier = load_recipe(RECIPES / f"{run}.toml").model
        assert (earlier.variant, earlier.in_channels) == (recipe.model.variant, recipe.model.in_channels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_published_numbers(name):
    batch, iterations, milestones, lr, loss, patch, start = PUBLISHED[name]
    recipe = load_recipe(RECIPES / f"{name}.toml")
    train, model, data = recipe.train, recipe.model, recipe.data
    assert (train.total_batch, train.iterations, tuple(train.milestones)) == (batch, iterations, milestones)
    assert (train.lr, train.loss, train.betas, train.gamma) == (lr, loss, (0.9, 0.999), 0.5)
    assert (train.schedule, recipe.goal(0).train.warmup) == ("milestones", 0)
    assert (train.clip, train.stages) == (0, [])
    assert loss == "l1" or train.charbonnier_eps == 1e-3
    assert data.patch == patch
    assert model.start_from == (start and f"runs/{start}/ema.safetensors")
    variant, task, level = (name.replace("-x", "-sr-")).split("-")
    assert (model.variant, data.task, model.overrides) == (variant, task, {})
    if task == "sr":
        assert model.upscale == int(level)
        assert data.folders == (["data/DIV2K"] if variant == "light" else ["data/DIV2K", "data/Flickr2K"])
    else:
        assert (model.upscale, model.in_channels) == (1, 3 if task == "denoise" else 1)
        assert (data.sigma if task == "denoise" else data.quality) == [int(level)]
        assert len(data.folders) == 5


def test_ours_train_blind():
    check_blind(*(load_recipe(RECIPES / f"light-{task}-blind.toml") for task in ("denoise", "jpeg")))
    check_blind(*(load_recipe(RECIPES / f"light-{task}-cpu.toml") for task in ("denoise", "jpeg")))


def check_blind(noise, jpeg):
    assert noise.data.sigma == [5, 50]
    assert jpeg.data.quality == [10, 90]
    for recipe in (noise, jpeg):
        config = recipe.model.config()
        assert (config.upscale, config.in_channels, config.upsampler, config.embed_dim) == (1, 3, "", 48)


def test_the_recipes_of_the_documents_are_valid(tmp_path):
    text = (RECIPES.parent / "docs" / "training.md").read_text(encoding="utf-8")
    whole = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[train]" in block]
    assert len(whole) >= 2
    for block in whole:
        (tmp_path / "mine.toml").write_text(block, encoding="utf-8")
        load_recipe(tmp_path / "mine.toml")
