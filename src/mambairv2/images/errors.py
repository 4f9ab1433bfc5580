"""TODO images.errors."""

from __future__ import annotations

import errno
from pathlib import Path

import pyvips


class ImageError(ValueError):
    """A file that cannot be read or written; the message is one line that names it and says what to do."""


def several(path: Path, count: int, wanted: str = "choose one") -> ImageError:
    """The error for a file of several pages where one is wanted."""
    return ImageError(f"{path}: holds {count} pages or frames; {wanted}, --page 0 to --page {count - 1}")


def explain(error: OSError) -> str:
    """What the system says of a file, and what to do."""
    remedies = {
        errno.ENOENT: "check the name",
        errno.ELOOP: "check where the link leads",
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EROFS: "it cannot be changed there",
        errno.ENOTDIR: "check the name",
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EFBIG: "raise the limit on the size of files",
    }
    remedy = remedies.get(error.errno or 0, "check the disk")
    return f"{(error.strerror or str(error)).lower()}; {remedy}"


def _damaged(path: Path, error: pyvips.Error) -> ImageError:
    said = reason(error)
    said = "" if said.startswith("unable to ") else f" ({said})"
    return ImageError(f"{path}: is damaged or cut short{said}; fetch or export it again")


def reason(error: pyvips.Error) -> str:
    """What libvips says of an error, its first line that is no mere warning of libjpeg's."""
    lines = str(error.detail).strip().splitlines() or [str(error.message)]
    return next((line for line in lines if "Corrupt JPEG data" not in line), lines[0]).strip()
