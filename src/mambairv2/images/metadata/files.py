"""Metadata out of any file that is read, and into any file that is written."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pyvips

from mambairv2.files import atomic
from mambairv2.images.metadata import exif, jpeg, png, tiff, truth, webp
from mambairv2.images.metadata.model import Density, Metadata
from mambairv2.images.metadata.table import SAME

_COPY = {".png": png.write, ".jpg": jpeg.write, ".webp": webp.write}


def main_pages(told: Sequence[tiff.Page], count: int) -> tuple[int, ...]:
    """Return the numbers of the pages of a file that are no thumbnail and no mask; all where none is left."""
    if len(told) != count:
        return tuple(range(count))
    return tuple(number for number, page in enumerate(told) if not page.role) or tuple(range(count))


def read_pages(path: Path, image: pyvips.Image) -> tuple[tiff.Page, ...]:
    """Read the metadata of every page of a file that libvips has opened, without those of EXIF that are damaged.

    One page stands for all in formats other than TIFF. Nothing is raised: damage gives a note.
    """
    try:
        with open(path, "rb") as file:
            pages = _read(file, image)
    except (OSError, ValueError, struct.error, IndexError, RecursionError):
        pages = (tiff.Page(Metadata(notes=("metadata damaged: left out",)), ""),)
    return tuple(replace(page, metadata=_completed(page.metadata)) for page in pages)


def _completed(metadata: Metadata) -> Metadata:
    """Add the resolution that EXIF tells where the format tells none."""
    density = metadata.density
    if density is None and metadata.exif:
        with suppress(ValueError, struct.error):
            density = tiff.density_in(exif.to_tags(metadata.exif))
    return replace(metadata, density=density)


def _read(file: IO[bytes], image: pyvips.Image) -> tuple[tiff.Page, ...]:
    mark = file.read(12)
    if mark[:4] in tiff.MARKS:
        return tiff.read(file)
    if mark.startswith(png.MARK):
        metadata = png.read(file)
    elif mark.startswith(jpeg.MARK):
        metadata = jpeg.read(file)
    elif mark[:4] == b"RIFF" and mark[8:] == b"WEBP":
        metadata = webp.read(file)
    elif mark.startswith(b"BM"):
        metadata = Metadata(density=_density_of_bmp(file))
    else:
        notes = ("only the still picture of a sequence",) if _is_sequence(file) and not _paged(image) else ()
        metadata = Metadata(_blob(image, "exif-data"), _blob(image, "xmp-data"), notes=notes)
    return (tiff.Page(metadata, ""),)


def _is_sequence(file: IO[bytes]) -> bool:
    """Tell whether an AVIF or HEIC file says that it also holds a sequence."""
    file.seek(0)
    size, kind = struct.unpack(">I4s", file.read(8))
    brands = file.read(min(max(size - 8, 0), 256))
    return kind == b"ftyp" and any(brands[at : at + 4] in (b"avis", b"msf1") for at in range(0, len(brands), 4))


def _paged(image: pyvips.Image) -> bool:
    return bool(image.get_typeof("n-pages")) and int(image.get("n-pages")) > 1


def _density_of_bmp(file: IO[bytes]) -> Density | None:
    file.seek(14)
    size, x, y = struct.unpack("<I20xii", file.read(32))
    return Density(x, y) if size >= 40 and x > 0 and y > 0 else None


def _blob(image: pyvips.Image, name: str) -> bytes:
    return bytes(image.get(name)).removeprefix(b"Exif\0\0") if image.get_typeof(name) else b""


def prepare(
    pages: Sequence[Metadata], suffix: str, image: pyvips.Image, strip: bool
) -> tuple[list[Metadata], list[str]]:
    """Return what goes into an output of this suffix, a page each, and notes for the user.

    image: the finished output, of which a page is `page-height` high.
    """
    height = int(image.get("page-height")) if image.get_typeof("page-height") else image.height
    profiled = bool(image.get_typeof("icc-profile-data"))
    ready, notes = [], list[str]()
    for page in pages:
        if strip:
            page = truth.bare(page)
        one, said = truth.make_true(page, (height, image.width))
        one, more = truth.fit(one, suffix, profiled)
        ready.append(one)
        notes += [note for note in (*said, *more) if note not in notes]
    return ready, notes


def write(encode: Callable[[Path], None], target: Path, pages: Sequence[Metadata]) -> None:
    """Encode an image into a file and give it these metadata. Raises OSError and what `encode` raises."""
    suffix = target.suffix.lower()
    suffix = SAME.get(suffix, suffix)
    if suffix not in _COPY:
        encode(target)
        tiff.write(target, pages)
        return
    descriptor, plain = atomic.create(target.parent, target.suffix, atomic.permissions(target))
    try:
        encode(plain)
        _COPY[suffix](plain, target, pages[0])
    finally:
        os.close(descriptor)
        plain.unlink(missing_ok=True)
