"""Errors about image files: one line that names the file and says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mambairv2.images.unsupported import refusal

if TYPE_CHECKING:
    import pyvips


class ImageError(ValueError):
    """A file that cannot be read or written; the message is one line that names it and says what to do."""


def several(path: Path, count: int, wanted: str = "choose one") -> ImageError:
    """Return the error for a file of several pages where one is wanted."""
    return ImageError(f"{path}: holds {count} pages or frames; {wanted}, --page 0 to --page {count - 1}")


def damaged(path: Path, error: pyvips.Error) -> ImageError:
    """Return the error for a file whose content libvips cannot decode: damaged, or of a kind that it does not know.

    Raises MemoryError where libvips lacks memory.
    """
    check_memory(error)
    if told := refusal(path, f"{error.message} {error.detail}"):
        return ImageError(told)
    said = reason(error)
    said = "" if said.startswith("unable to ") else f" ({said})"
    return ImageError(f"{path}: is damaged or cut short{said}; fetch or export it again")


def check_memory(error: pyvips.Error) -> None:
    """Raise MemoryError if libvips failed for lack of memory."""
    if any(symptom in str(error) for symptom in ("Error creating thread", "out of memory")):
        raise MemoryError(f"not enough memory ({reason(error)})") from error


def reason(error: pyvips.Error) -> str:
    """Return the first line of an error of libvips that is not a mere warning of libjpeg."""
    lines = str(error.detail).strip().splitlines() or [str(error.message)]
    return next((line for line in lines if "Corrupt JPEG data" not in line), lines[0]).strip()


def explain(error: OSError) -> str:
    """Return the message of the operating system and what to do about it."""
    remedies = {
        errno.ENOENT: "check the name",
        errno.ELOOP: "check where the link leads",
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EROFS: "it cannot be changed there",
        errno.ENOTDIR: "check the name",
        errno.EEXIST: "check the name",
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EFBIG: "raise the limit on the size of files",
    }
    remedy = remedies.get(error.errno or 0, "check the disk")
    return f"{(error.strerror or str(error)).lower()}; {remedy}"


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the operating system says while an output is written into an ImageError that names the output."""
    try:
        yield
    except OSError as error:
        message = f"{target}: cannot be written: {explain(error)}"
        raise ImageError(f"{message}, or choose another folder with -o") from error
