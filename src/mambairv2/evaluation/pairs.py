"""Test images with ready-made inputs: photographs taken twice, or any damage that no protocol makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mambairv2.evaluation.case import Case
from mambairv2.images.folders import list_pairs
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize


def pair_cases(folder: Path, inputs: Path, scale: int, channels: int) -> Iterator[Case]:
    """Read a test set of pairs: the targets of a folder, and their inputs in another, paired as for training.

    The baseline is the input itself, or above ×1 its bicubic enlargement. Raises FileNotFoundError for a folder without
    images and for targets without an input, ImageError for an image that cannot be read, and ValueError for an input
    that is not the target's size divided by the scale, rounded down.
    """
    for target_file, input_file in list_pairs([folder], [inputs], scale):
        target, source = read_image(target_file, channels), read_image(input_file, channels)
        height, width = (side // scale for side in target.shape[:2])
        if source.shape[:2] != (height, width):
            sizes = f"{source.shape[1]}x{source.shape[0]}, expected {width}x{height}"
            raise ValueError(f"{input_file}: {sizes}, the size of {target_file}{f' divided by {scale}' * (scale > 1)}")
        target = target[: height * scale, : width * scale]
        baseline = source if scale == 1 else imresize(source, scale)
        yield Case(target_file.stem, (source / 255).astype(np.float32), target, baseline)
