"""An image file as one array of 8-bit pixels, for training and measuring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

from mambairv2.images.arrays import Pixels
from mambairv2.images.errors import reason


def read_image(path: Path, channels: int | None = None) -> Pixels:
    """Decode an image file completely.

    channels: 1 gives luma of RGB (BT.601, full range, rounded), 3 repeats grey, None keeps what the file has.
    Returns (H, W, 1) or (H, W, 3), uint8; alpha is dropped and 16 bits become 8. Raises ValueError naming a
    broken file.
    """
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
        if image.hasalpha():
            image = image[: image.bands - 1]
        if image.bands not in (1, 3) or image.format not in ("uchar", "ushort"):
            image = image.colourspace("srgb")
        pixels = image.numpy().reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    return to_channels(pixels, channels or pixels.shape[2])


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Make an (H, W, 1 or 3) uint8 image grey (BT.601 luma, full range, rounded) or three equal channels."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=2)
    luma: npt.NDArray[np.float64] = pixels @ np.array([0.299, 0.587, 0.114])
    return (luma + 0.5).astype(np.uint8)[..., None]
