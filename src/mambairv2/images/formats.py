"""Image formats: which suffixes are read, and what a file of each format that is written can hold.

This module is data. It needs neither libvips nor torch, so that names and options are checked before they are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 2**29
"""Larger images are refused unless asked for: a few kilobytes can claim to be 65535×65535."""
READABLE = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".heic",
    ".heif",
    ".avif",
    ".bmp",
    ".dib",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
"""Suffixes taken from folders. A file that is named is opened whatever its suffix: the content decides."""


@dataclass(frozen=True)
class Format:
    """What a file of one format can hold."""

    samples: tuple[str, ...]
    """Sample types by the names of libvips, the deepest last."""
    alpha: bool
    side: int
    """Longest side in pixels, of each page."""
    pages: bool
    """Whether one file holds several."""


_JPEG = Format(("uchar",), alpha=False, side=65535, pages=False)
_TIFF = Format(("uchar", "ushort", "float"), alpha=True, side=2**31 - 1, pages=True)
FORMATS = {
    ".png": Format(("uchar", "ushort"), alpha=True, side=2**31 - 1, pages=False),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".webp": Format(("uchar",), alpha=True, side=16383, pages=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
"""The suffixes that can be written."""


def suffix_of(content: bytes) -> str:
    """Return the suffix for the format of a file by its first bytes, `.png` for formats that are not written."""
    starts = {b"\xff\xd8": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif"}
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in starts.items() if content.startswith(start)), ".png")


def cannot_write(suffix: str) -> str:
    """Return what is said of a suffix that is not written."""
    return f"cannot write {suffix or 'a file without a suffix'}; choose one of {' '.join(FORMATS)}"


@dataclass(frozen=True)
class SaveOptions:
    """How an output file is encoded. Raises ValueError for a value out of range."""

    quality: int = 95
    """JPEG and WebP, 1 to 100; 100 makes WebP lossless, and so does 95 where the input is a lossless WebP."""
    compression: int = 6
    """PNG, 0 (none) to 9 (smallest); TIFF uses deflate unless it is 0."""
    strip: bool = False
    """Leave metadata out. The colour profile stays: colours would be wrong without it."""
    keep_hidden: bool = False
    """Keep the colour of fully transparent pixels, for textures, rather than fill it in from visible ones."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is 1 to 100, got {self.quality}")
        if not 0 <= self.compression <= 9:
            raise ValueError(f"compression is 0 to 9, got {self.compression}")
