"""Image files in, by libvips: depth, grey, alpha, colour profile, orientation and metadata are kept.

A file is opened as a `Picture`: its colour (1 or 3 bands) and its alpha, apart, at the file's own depth,
upright. Pixels are decoded when a region is asked for. `mambairv2.images.writing` is the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips

from mambairv2.images.alpha import bleed
from mambairv2.images.arrays import DEPTHS, Samples, peak
from mambairv2.images.errors import ImageError, damaged, explain, several
from mambairv2.images.formats import MAX_PIXELS
from mambairv2.images.loaders.forked import check_threads
from mambairv2.images.loaders.loading import NO_END, load, loader, page_count
from mambairv2.images.metadata.files import main_pages, read_pages
from mambairv2.images.metadata.model import Metadata
from mambairv2.images.picture import Picture

DECODED = 100 * 2**20
"""Bytes up to which libvips keeps a decoded file in memory; a larger one goes to a temporary file."""


def open_picture(path: str | Path, *, page: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open an image file of any format that libvips knows; the content decides, not the suffix.

    The EXIF orientation is applied. CMYK and Lab become sRGB through their profile; grey, RGB and their
    profile stay as they are. Floats are taken as stored, display-referred, 0 black and 1 white. page: which
    page of a file that holds several, from 0. max_pixels: width × height above which the file is refused.

    Raises ImageError, one line naming the file, for anything that is not one whole image. Damage inside the
    compressed pixels shows when a region is decoded.
    """
    pictures = open_pages(path, page=page, max_pixels=max_pixels)
    if len(pictures) > 1:
        raise several(Path(path), len(pictures))
    return pictures[0]


def open_pages(
    path: str | Path, *, page: int | None = None, max_pixels: int = MAX_PIXELS, keep_hidden: bool = False
) -> tuple[Picture, ...]:
    """Open every page of a TIFF or frame of an animation, or the one that `page` chooses, as `open_picture`.

    Returns pictures of one size, kind and profile; most files hold one. max_pixels counts all of them.
    keep_hidden: leave the colour of fully transparent pixels as it is, rather than fill it in from visible ones.
    """
    path = Path(path)
    try:
        image = load(path)
        count = page_count(image)
        if page is not None and page >= count:
            known = f"choose one, --page 0 to --page {count - 1}" if count > 1 else "it holds one; leave out --page"
            raise ImageError(f"{path}: has no page {page}; {known}")
        told = read_pages(path, image)
        numbers = main_pages(told, count) if page is None else (page,)
        parts = _parts(path, image, numbers, count)
        if sum(part.width * part.height for part in parts) > max_pixels:
            size = f"{len(parts)} pages of " * (len(parts) > 1) + f"{parts[0].width}x{parts[0].height}"
            raise ImageError(
                f"{path}: {size} is over the limit of {max_pixels / 1e6:.3g} megapixels; "
                "if you trust the file, raise --max-pixels (in Python max_pixels=)"
            )
        pictures = []
        for number, part in zip(numbers, parts, strict=True):
            one = told[number].metadata if len(told) == count else told[0].metadata
            turn = int(part.get("orientation")) if part.get_typeof("orientation") else 1
            if len(told) == count and told[number].icclab:
                part = _from_icclab(part)
            pictures.append(_split(path, part.autorot(), replace(one, orientation=turn), keep_hidden))
        if page is None and len(numbers) < count:
            left = count - len(numbers)
            note = f"{left} page{'s' * (left > 1)} marked as thumbnail or mask left out"
            pictures[0] = replace(pictures[0], notes=(*pictures[0].notes, note))
        return tuple(pictures)
    except OSError as error:
        raise ImageError(f"{path}: {explain(error)}") from error
    except pyvips.Error as error:
        raise damaged(path, error) from error


def _parts(path: Path, image: pyvips.Image, numbers: Sequence[int], count: int) -> list[pyvips.Image]:
    """The pages with these numbers, of one size and kind."""
    if count == 1:
        return [image]
    if len(numbers) == 1:
        return [load(path, page=numbers[0])]
    if not loader(image).startswith("tiff"):  # frames, of which some depend on those before
        image = load(path, n=-1)
        tall = image.height // count
        return [image.crop(0, k * tall, image.width, tall) for k in numbers]
    parts = [load(path, page=number) for number in numbers]  # together they would get the palette of one
    if len({(part.width, part.height, part.bands, part.format, _profile(part)) for part in parts}) > 1:
        raise several(path, count, "their sizes, kinds or profiles differ, so choose one")
    return parts


def _profile(image: pyvips.Image) -> bytes:
    return bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else b""


def from_array(samples: Samples) -> Picture:
    """Take an array for a picture: (h, w) or (h, w, C), uint8, uint16 or float32, C 1 to 4, alpha last if
    even.

    Raises ValueError for other shapes and dtypes.
    """
    check_threads()
    peak(samples.dtype)
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if samples.ndim not in (2, 3) or samples.size == 0 or channels > 4:
        raise ValueError(f"an image is (h, w) or (h, w, C) with C 1 to 4, got {samples.shape}")
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
    return _split(Path("array"), image.copy(interpretation="b-w" if channels < 3 else "srgb"), Metadata())


def _split(path: Path, image: pyvips.Image, metadata: Metadata, keep_hidden: bool = False) -> Picture:
    """Split an upright image into colour, grey or RGB, and alpha."""
    alpha: pyvips.Image | None = None
    notes: tuple[str, ...] = ()
    if image.get_typeof("gainmap-data"):
        notes = ("HDR gain map left out",)
    if image.get_typeof(NO_END):
        notes = (*notes, "its end mark is missing, nothing else")
    if image.hasalpha():
        alpha, image = image[image.bands - 1], image.extract_band(0, n=image.bands - 1)
    if image.interpretation == "cmyk":
        image, notes = _from_cmyk(image), (*notes, "CMYK converted to sRGB")
    elif image.interpretation in ("lab", "labs", "labq", "xyz", "lch", "yxy", "hsv"):
        notes = (*notes, f"{image.interpretation} converted to sRGB")
        image = image.colourspace("srgb" if image.format == "uchar" else "rgb16")
    if image.format == "double":
        image = image.cast("float")
    if image.format not in DEPTHS:
        raise ImageError(f"{path}: has samples of type {image.format}; convert it to 8 or 16 bits, or float")
    if image.bands not in (1, 3):
        raise ImageError(f"{path}: has {image.bands} bands of colour; only grey (1) and RGB (3) can be restored")
    if alpha is not None:
        alpha = alpha.cast(image.format)
        image = image if keep_hidden else bleed(image, alpha)
    return Picture(path, image, alpha, notes, metadata)


def _from_icclab(image: pyvips.Image) -> pyvips.Image:
    """Give the samples of ICCLAB the scale of CIELAB. Source: ICC.1:2001, 6.3.4, and TIFF Technical Note 4."""
    if image.bands < 3 or image.format not in ("uchar", "ushort"):
        return image
    step, white, middle = (1, 255, 128) if image.format == "uchar" else (256, 65280, 32768)
    lab = image.extract_band(0, n=3).linear([100 / white, 1 / step, 1 / step], [0, -middle / step, -middle / step])
    return lab.cast("float").copy(interpretation="lab")


def _from_cmyk(image: pyvips.Image) -> pyvips.Image:
    """Convert CMYK to sRGB by its own profile, or by a common one where it has none or a damaged one."""
    deep = image.format == "ushort"
    options = {"intent": "relative", "depth": 16 if deep else 8, "input_profile": "cmyk"}
    try:
        image = image.icc_transform("srgb", embedded=True, **options)
    except pyvips.Error:
        image = image.icc_transform("srgb", embedded=False, **options)
    return image.copy(interpretation="rgb16" if deep else "srgb")
