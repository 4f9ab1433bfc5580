"""Image files opened by libvips, and told what is wrong with them otherwise."""

from __future__ import annotations

import io
import stat
import struct
from pathlib import Path

import pyvips

from mambairv2.images.errors import ImageError, several
from mambairv2.images.loaders.bitmaps import open_bitmap
from mambairv2.images.loaders.forked import check_threads
from mambairv2.images.loaders.sources import source_of
from mambairv2.images.metadata import jpeg, tiff
from mambairv2.images.unsupported import refusal

_PAGED = ("tiff", "webp", "gif", "heif")
"""Formats whose files may hold several pages or frames, by the names of libvips' loaders."""
_TIFF_MARKS = tiff.MARKS
_END = b"\xff\xd9"
"""The end mark of a JPEG, which cannot stand among its pixels."""
NO_END = "mambairv2-no-end"
"""A field of a JPEG that lacks its end mark."""


def load(path: Path, **options: int) -> pyvips.Image:
    """Open an image with libvips: the header is read and checked, pixels are not decoded."""
    check_threads()
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{path}: is a folder, not an image; name the files in it")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path}: is not a regular file but a pipe or a device; copy it to a file first")
    if found.st_size == 0:
        raise ImageError(f"{path}: is empty (0 bytes); fetch it again")
    with open(path, "rb") as file:
        mark = file.read(4)
    try:
        if (bitmap := open_bitmap(path)) is not None:
            return bitmap
        if mark.startswith(b"\xff\xd8") and (mended := _with_end(path)) is not None:
            return mended
        # Not by name: libvips caches files by name though they may change, and reads brackets in a name as options.
        image = pyvips.Image.new_from_source(source_of(path), "", fail_on="error", **options)
    except (ValueError, struct.error) as error:
        raise ImageError(f"{path}: is damaged or cut short ({error}); fetch or export it again") from error
    except pyvips.Error as error:
        if "bad labq" in str(error):  # what libvips takes 8-bit CIELAB for
            return _lab_as_icclab(path, options.get("page", 0))
        if "not in a known format" in str(error) and mark not in _TIFF_MARKS:  # the directory of a TIFF may come last
            unknown = f"{path}: is not an image, or too damaged to tell; check where it came from"
            raise ImageError(refusal(path, str(error)) or unknown) from error
        if "samples out of range" in str(error):
            raise ImageError(
                f"{path}: has samples that are not read, such as 64 bits; convert it to 8 or 16 bits, or float"
            ) from error
        if "differs from page" in str(error):
            count = page_count(load(path))
            raise several(path, count, "their sizes or kinds differ, so choose one") from error
        raise
    if loader(image).startswith("svg"):
        raise ImageError(f"{path}: is a vector drawing, which needs no restoring; export it at the size you want")
    return image


def _with_end(path: Path) -> pyvips.Image | None:
    """Open a JPEG that lacks nothing but its end mark; None for any other file.

    Only the last bytes are looked at where they hold the mark. Otherwise the file is decoded three times.
    """
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 64))
        if _END in file.read():
            return None
        start = jpeg.pixels_start(file)
        file.seek(start)
        rest = file.read()
        if start == 0 or _END in rest:
            return None
        file.seek(0)
        content = file.read().rstrip(b"\xff")
    try:
        # Where pixels are missing, what follows the last byte is taken for them: then the picture depends on it.
        endings = [_open_with(content + filling + _END) for filling in (b"", b"\x55" * 99, b"\xaa" * 99)]
        whole = not any((endings[0] != other).max() for other in endings[1:])
    except pyvips.Error:
        return None
    if not whole:
        return None
    told = endings[0].copy()
    told.set_type(pyvips.GValue.gint_type, NO_END, 1)
    return told


def _open_with(content: bytes) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(content, "", fail_on="error")


def page_count(image: pyvips.Image) -> int:
    """Return how many pages or frames the file of an image holds."""
    paged = loader(image).startswith(_PAGED) and image.get_typeof("n-pages")
    return int(image.get("n-pages")) if paged else 1


def loader(image: pyvips.Image) -> str:
    """Return libvips' name of what read an image; empty for one that did not come from its readers."""
    return str(image.get("vips-loader")) if image.get_typeof("vips-loader") else ""


def _lab_as_icclab(path: Path, page: int) -> pyvips.Image:
    """Open a TIFF of 8-bit CIELAB, which libvips does not know, as ICCLAB, with its signed a and b mended."""
    file = io.BytesIO(path.read_bytes())
    tiff.call_icclab(file)
    image = pyvips.Image.new_from_buffer(file.getvalue(), "", fail_on="error", page=page)
    return image ^ [0, 128, 128]
