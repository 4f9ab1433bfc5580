"""An image file as one array of 8-bit pixels, for training and measuring."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambairv2.images.arrays import Pixels, quantise
from mambairv2.images.errors import ImageError
from mambairv2.images.reading import open_pages

_BAND = 256
"""Rows that are decoded at once: as floats they take four times the memory of the result."""


def read_image(path: Path, channels: int | None = None) -> Pixels:
    """Decode a whole image file, by the reader that restoration uses.

    channels: 1 gives luma of RGB (BT.601, full range, rounded), 3 repeats grey, None keeps what the file has.
    Returns (H, W, 1) or (H, W, 3), uint8, upright; alpha is dropped; 16 bits and floats are rounded to 8 bits. Raises
    ImageError, one line naming the file, for anything that is not one whole image.
    """
    pictures = open_pages(path)
    if len(pictures) > 1:
        raise ImageError(f"{path}: holds {len(pictures)} pages or frames; save the one you want as a file of its own")
    picture = pictures[0]
    height, width = picture.size
    pixels = np.empty((height, width, picture.channels), np.uint8)
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        values = picture.region(rows, slice(0, width))
        pixels[rows] = quantise(values, pixels.dtype).transpose(1, 2, 0)
    return to_channels(pixels, channels or picture.channels)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Make an (H, W, 1 or 3) uint8 image grey (BT.601 luma, full range, rounded) or three equal channels."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=2)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    return (luma + 0.5).astype(np.uint8)[..., None]
