"""Files for libvips, which takes names in UTF-8 only, where a name may be of any bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pyvips


def source_of(path: Path) -> pyvips.Source:
    """Return a file as a source for libvips. Raises OSError or pyvips.Error where it cannot be opened.

    By its name where that can be: libvips then closes files that it may open again.
    """
    name = os.fsencode(path)
    try:
        if name.decode("utf-8") == str(path):
            return pyvips.Source.new_from_file(str(path))
    except UnicodeDecodeError:
        pass
    with open(path, "rb") as file:
        return pyvips.Source.new_from_descriptor(file.fileno())  # which it duplicates
