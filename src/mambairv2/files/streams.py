"""Standard input and output as places of a file: `-`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

STREAM = "-"

_reserved: list[BinaryIO] = []
"""Standard output, once it is kept for bytes."""


def reserve_output() -> None:
    """Keep standard output for the bytes of a file: whatever anybody prints from now on goes to standard error.

    Raises ValueError where it is closed or a terminal.
    """
    if sys.__stdout__ is None:
        raise ValueError("standard output is closed; give a file with -o")
    if sys.__stdout__.isatty():
        raise ValueError("standard output is a terminal, which shows no images; redirect it, or give a file with -o")
    sys.stdout.flush()
    _reserved[:] = [os.fdopen(os.dup(1), "wb")]
    os.dup2(2, 1)


def check_input() -> None:
    """Raise ValueError where standard input is closed or a terminal."""
    if sys.__stdin__ is None:
        raise ValueError("standard input is closed; pipe an image into it")
    if sys.__stdin__.isatty():
        raise ValueError("standard input is a terminal; pipe an image into it")


def read_input(file: Path) -> None:
    """Copy standard input into a file. Raises OSError."""
    with open(file, "wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)


def write_output(file: Path) -> None:
    """Copy a file to standard output, which was reserved before. Raises OSError."""
    with open(file, "rb") as content, _reserved.pop() as out:
        shutil.copyfileobj(content, out)
