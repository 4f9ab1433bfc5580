"""Encoded images in, encoded images out: bytes and open files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mambairv2.images.errors import ImageError
from mambairv2.images.formats import suffix_of


class Readable(Protocol):
    """A file that is open in binary mode."""

    def read(self) -> bytes:
        """Return all that is left of it."""
        ...


def restore_encoded(content: bytes, restore_file: Callable[[Path, Path], object]) -> bytes:
    """Restore the bytes of an image file; returns the bytes of one, in its format, or PNG for formats not written.

    restore_file: a file into another. Raises ImageError where they are not an image.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image"), Path(folder, f"restored{suffix_of(content)}")
        source.write_bytes(content)
        try:
            restore_file(source, target)
        except ImageError as error:  # the user knows no file of this name
            raise ImageError(str(error).replace(str(source), "image").replace(str(target), "image")) from error
        return target.read_bytes()


def restore_open(file: Readable, restore_file: Callable[[Path, Path], object]) -> io.BytesIO:
    """Restore a file object, from where it stands; returns one in memory, at its start. As `restore_encoded`.

    Raises TypeError for a file that is open in text mode.
    """
    content = file.read()
    if not isinstance(content, bytes):
        raise TypeError(f"a file object must give bytes, got {type(content).__name__}; open it in binary mode, 'rb'")
    return io.BytesIO(restore_encoded(content, restore_file))
