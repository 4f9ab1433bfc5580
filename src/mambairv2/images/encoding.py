"""Encoders: a libvips image into a PNG, JPEG, WebP or TIFF file."""

from __future__ import annotations

import os
from pathlib import Path

import pyvips

from mambairv2.images.arrays import DEPTHS
from mambairv2.images.formats import SaveOptions

BIG = 3 * 2**30
"""Bytes of pixels from which a TIFF is written as BigTIFF; the classic kind ends at 4 GiB, directories included."""

_KEEP = "icc"
"""What libvips carries over by itself. It would write EXIF and resolutions that were not there."""


def encode(image: pyvips.Image, path: Path, options: SaveOptions) -> None:
    """Write an image in the format that the suffix names, one of `FORMATS`. Raises pyvips.Error."""
    try:
        _ENCODERS[path.suffix.lower()](image, os.fsencode(path), options)
    except UnicodeDecodeError as error:  # libvips names the file, in bytes that are no text
        raise pyvips.Error(bytes(error.object).decode("utf-8", "replace")) from None


def _png(image: pyvips.Image, path: bytes, options: SaveOptions) -> None:
    image.pngsave(path, compression=options.compression, keep=_KEEP)


def _jpeg(image: pyvips.Image, path: bytes, options: SaveOptions) -> None:
    # Without optimised coding, which would hold the coefficients of the whole image in memory.
    image.jpegsave(path, Q=options.quality, keep=_KEEP)


def _webp(image: pyvips.Image, path: bytes, options: SaveOptions) -> None:
    image.webpsave(path, Q=options.quality, lossless=options.quality == 100, keep=_KEEP)


def _tiff(image: pyvips.Image, path: bytes, options: SaveOptions) -> None:
    raw = image.width * image.height * image.bands * DEPTHS[image.format].itemsize
    predictor = "float" if image.format == "float" else "horizontal"
    packing = {"compression": "deflate", "predictor": predictor} if options.compression else {}
    image.tiffsave(path, bigtiff=raw > BIG, keep=_KEEP, **packing)


_ENCODERS = {
    ".png": _png,
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _jpeg),
    ".webp": _webp,
    ".tif": _tiff,
    ".tiff": _tiff,
}
