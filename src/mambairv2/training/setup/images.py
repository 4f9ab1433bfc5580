"""The training images of a run."""

from __future__ import annotations

from mambairv2.images.folders import find_data
from mambairv2.training.data.image_cache import open_cache
from mambairv2.training.data.patches import Patches
from mambairv2.training.log import Reporter
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup.options import Options


def open_patches(recipe: Recipe, options: Options, reporter: Reporter) -> Patches:
    """Open the recipe's images, decoding them first where that has not been done.

    Raises FileNotFoundError for folders that are not there or have no images, and ValueError where there is not one
    folder of ready-made inputs for each folder of targets.
    """
    try:
        folders = options.data or tuple(map(find_data, recipe.data.folders))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; give the folder of training images by --data") from None
    if options.data and recipe.data.input_folders and not options.inputs:
        raise ValueError("--data replaces the recipe's folders, which have input_folders; give --inputs for each")
    inputs = options.inputs or tuple(map(find_data, recipe.data.input_folders))
    if inputs and len(inputs) != len(folders):
        raise ValueError(f"{len(folders)} folders of targets need as many of inputs, got {len(inputs)}; see --inputs")

    def tick(done: int, total: int) -> None:
        if done % 100 == 0:
            reporter.say(f"decoding images into {options.cache}: {done} of {total}")

    cache = open_cache(folders, recipe.model.upscale, recipe.model.in_channels, inputs, options.cache, tick)
    for fault in cache.skipped:
        reporter.say(f"left out: {fault}")
    part = recipe.data.model_copy(update={"input_folders": [str(folder) for folder in inputs]})
    return Patches(cache, part, (recipe.seed, 0))
