"""Encoders: a libvips image into a PNG, JPEG, WebP or TIFF file."""

from __future__ import annotations

from pathlib import Path

import pyvips

from mambairv2.images.arrays import DEPTHS
from mambairv2.images.formats import SaveOptions

BIG = 3 * 2**30
"""Bytes of pixels from which a TIFF is written as BigTIFF; the classic kind ends at 4 GiB, directories included."""


def encode(image: pyvips.Image, path: Path, options: SaveOptions) -> None:
    """Write an image in the format that the suffix names, one of `FORMATS`. Raises pyvips.Error."""
    _ENCODERS[path.suffix.lower()](image, str(path), options, "icc" if options.strip else "all")


def _png(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    image.pngsave(path, compression=options.compression, keep=keep)


def _jpeg(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    # Without optimised coding, which would hold the coefficients of the whole image in memory.
    image.jpegsave(path, Q=options.quality, keep=keep)


def _webp(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    image.webpsave(path, Q=options.quality, lossless=options.quality == 100, keep=keep)


def _tiff(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    raw = image.width * image.height * image.bands * DEPTHS[image.format].itemsize
    predictor = "float" if image.format == "float" else "horizontal"
    packing = {"compression": "deflate", "predictor": predictor} if options.compression else {}
    image.tiffsave(path, bigtiff=raw > BIG, keep=keep, **packing)


_ENCODERS = {".png": _png, ".jpg": _jpeg, ".jpeg": _jpeg, ".webp": _webp, ".tif": _tiff, ".tiff": _tiff}
