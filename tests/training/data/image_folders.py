"""Folders of random pictures, and recipes for patches of them."""

import numpy as np
import pyvips

from mambairv2.training.recipe import Recipe


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))


def random_picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def recipe_of(**data):
    return Recipe.model_validate({"data": {"patch": 8, **data}, "train": {"iterations": 6, "total_batch": 5}})
