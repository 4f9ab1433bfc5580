"""Image files out, by libvips: restored colour, the picture's alpha and metadata, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyvips

from mambairv2.files.atomic import create, permissions, replacing
from mambairv2.images.alpha import enlarge
from mambairv2.images.arrays import DEPTHS, Depth
from mambairv2.images.encoding import encode
from mambairv2.images.errors import ImageError, check_memory, reason, several, writing
from mambairv2.images.formats import FORMATS, SaveOptions, cannot_write
from mambairv2.images.metadata import files as metadata
from mambairv2.images.metadata.model import Metadata
from mambairv2.images.picture import Picture

_SPACES = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16"), "float": ("b-w", "scrgb")}
_CARRIED = ("icc-profile-data", "delay", "loop")
"""Fields of the input that libvips writes: the colour profile, and the times of frames."""


def output_depth(target: Path, pictures: Sequence[Picture], scale: int) -> Depth:
    """Check that a file of this suffix can hold the restored pages, and return the dtype it will have.

    16 bits and floats stay when the format has them, and become its deepest kind otherwise.
    Raises ImageError for a suffix that is not written, for an image too large for the format and for several
    pages where it holds one.
    """
    picture = pictures[0]
    kind = FORMATS.get(target.suffix.lower())
    if kind is None:
        raise ImageError(f"{target}: {cannot_write(target.suffix)}")
    if len(pictures) > 1 and not kind.pages:
        raise several(picture.path, len(pictures), "keep all by --format tif or webp, or choose one")
    height, width = (side * scale for side in picture.size)
    if max(height, width) > kind.side:
        raise ImageError(f"{target}: {width}x{height} is too large for {target.suffix}; choose .tif or .png")
    return picture.depth if picture.color.format in kind.samples else DEPTHS[kind.samples[-1]]


def finish(
    color: pyvips.Image, pictures: Sequence[Picture], scale: int, target: Path
) -> tuple[pyvips.Image, tuple[str, ...]]:
    """Join restored colour with the alpha of the pages, enlarged, and with the colour profile of the first.

    color: (pages·h·scale, w·scale), grey or RGB, of the dtype of `output_depth`. Where the format of
    `target` has no alpha the picture is put on white. Returns the image and notes for the user on what the
    format could not hold.
    """
    picture = pictures[0]
    notes = picture.notes
    if color.format != picture.color.format:
        notes += (f"{8 * DEPTHS[color.format].itemsize} bits in {target.suffix}",)
    grey, rgb = _SPACES[color.format]
    space = grey if color.bands == 1 else rgb
    image = color.copy(interpretation=space)
    alphas = [enlarge(page.alpha, scale, color.format) for page in pictures if page.alpha is not None]
    if alphas:
        image = image.bandjoin(pyvips.Image.arrayjoin(alphas, across=1))
        if not FORMATS[target.suffix.lower()].alpha:
            image = image.flatten(background=255)
            notes += (f"no alpha in {target.suffix}: put on white",)
    image = image.copy()  # libvips shares images: fields are set on a copy of one's own
    for name in _CARRIED:
        if picture.color.get_typeof(name):
            image.set_type(picture.color.get_typeof(name), name, picture.color.get(name))
    if len(pictures) > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", picture.size[0] * scale)
    return image, notes


def save(
    image: pyvips.Image, target: Path, options: SaveOptions | None = None, pictures: Sequence[Picture] = ()
) -> tuple[str, ...]:
    """Write an image in the format of the suffix, with the metadata of its pages, whole or not at all.

    A lossless WebP stays lossless unless a quality is chosen. The file appears under its name once it is complete
    and on the disk; what was there before is replaced. Returns notes for the user. Raises ImageError naming the file
    when it cannot be written.
    """
    options = options or SaveOptions()
    if target.suffix.lower() == ".webp" and options.quality == SaveOptions.quality:
        lossless = bool(pictures) and pictures[0].metadata.lossless
        options = replace(options, quality=100 if lossless else options.quality)
    try:
        image, notes = _without_bad_profile(image, target, options)
        carried = [page.metadata for page in pictures] or [Metadata()]
        carried, more = metadata.prepare(carried, target.suffix.lower(), image, options.strip)
        like = permissions(pictures[0].path if pictures else None)
        with writing(target), replacing(target, like) as temporary:
            metadata.write(lambda path: encode(image, path, options), temporary, carried)
    except pyvips.Error as error:
        check_memory(error)
        with writing(target):
            _probe(target.parent)
        message = f"{target}: cannot be written: {reason(error)}"
        raise ImageError(f"{message}; choose another format or folder with -o") from error
    return (*notes, *more)


def _without_bad_profile(
    image: pyvips.Image, target: Path, options: SaveOptions
) -> tuple[pyvips.Image, tuple[str, ...]]:
    """Remove the colour profile where the format does not take it, as PNG does not take a damaged one."""
    if not image.get_typeof("icc-profile-data"):
        return image, ()
    dot = pyvips.Image.black(1, 1, bands=image.bands).cast(image.format).copy(interpretation=image.interpretation)
    dot.set_type(pyvips.GValue.blob_type, "icc-profile-data", image.get("icc-profile-data"))
    with writing(target):
        descriptor, path = create(target.parent, target.suffix.lower())
    try:
        encode(dot, path, SaveOptions(strip=options.strip))
    except pyvips.Error:
        image = image.copy()
        image.remove("icc-profile-data")
        return image, ("colour profile damaged: left out",)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
    return image, ()


def _probe(folder: Path) -> None:
    """Write a megabyte into a new file, so that the operating system says what libvips does not tell."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))
