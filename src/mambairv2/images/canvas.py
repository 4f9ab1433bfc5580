"""Where restored rows gather until the image is whole: in memory if small, in a temporary file if large."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import pyvips

from mambairv2.files import atomic
from mambairv2.images.arrays import Depth, Samples
from mambairv2.images.writing import writing

_HEADER = 16
IN_MEMORY = 64 * 2**20
"""Bytes up to which an output is kept in memory."""


class Canvas:
    """Rows added from top to bottom, then a libvips image of them; a context manager that removes its file.

    A large canvas is an uncompressed BigTIFF, which libvips streams through in little memory. (A raw file
    would be mapped whole.)
    """

    def __init__(self, size: tuple[int, int], channels: int, depth: Depth, target: Path | None = None) -> None:
        """size: height, width. target: beside which a temporary file may be made; None keeps all in memory.

        Raises ImageError, naming `target`, when there is no room on the disk: at once, not after the work.
        """
        self.shape = (*size, channels)
        self.depth = depth
        self._filled = 0
        self._memory: Samples | None = None
        self._file: IO[bytes] | None = None
        self._row_bytes = size[1] * channels * depth.itemsize
        if target is None or self._row_bytes * size[0] <= IN_MEMORY:
            self._memory = np.empty(self.shape, depth)
            return
        self._target = target
        with writing(target):
            descriptor, self._path = atomic.create(target.parent, ".tif")
            self._file = os.fdopen(descriptor, "w+b")
            try:
                _reserve(self._file, _HEADER + self._row_bytes * size[0])
                self._file.write(bytes(_HEADER))
            except OSError:
                self.__exit__(None, None, None)
                raise

    def __enter__(self) -> Canvas:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def add(self, rows: Samples) -> None:
        """Add the next rows, (n, W, C) of the canvas' dtype."""
        assert (rows.dtype, rows.shape[1:]) == (self.depth, self.shape[1:]), (rows.dtype, rows.shape)
        if self._memory is not None:
            self._memory[self._filled : self._filled + len(rows)] = rows
        elif self._file is not None:
            with writing(self._target):
                self._file.write(np.ascontiguousarray(rows).data)
        self._filled += len(rows)

    def image(self) -> pyvips.Image:
        """The finished image; valid while the canvas is open, to be read from top to bottom, once."""
        assert self._filled == self.shape[0], (self._filled, self.shape)
        if self._memory is not None:
            return pyvips.Image.new_from_array(self._memory)
        assert self._file is not None
        with writing(self._target):
            self._write_directory(self._file)
        return pyvips.Image.new_from_file(str(self._path), access="sequential")

    def _write_directory(self, file: IO[bytes]) -> None:
        """Make a TIFF of what is header space and pixels so far: strips of whole rows, one after another."""
        height, width, channels = self.shape
        rows = max(1, 2**18 // self._row_bytes)
        starts = range(0, height, rows)
        offsets = [_HEADER + start * self._row_bytes for start in starts]
        lengths = [min(rows, height - start) * self._row_bytes for start in starts]
        kind = 3 if self.depth.kind == "f" else 1
        short, long = "H", "Q"
        entries = [
            (256, short if width < 65536 else long, [width]),
            (257, short if height < 65536 else long, [height]),
            (258, short, [8 * self.depth.itemsize] * channels),
            (259, short, [1]),  # no compression
            (262, short, [2 if channels == 3 else 1]),  # RGB, or 0 is black
            (273, long, offsets),
            (277, short, [channels]),
            (278, long, [rows]),
            (279, long, lengths),
            (339, short, [kind] * channels),
        ]
        place = file.seek(0, 2)
        place += -place % 8
        extra_place = place + 8 + 20 * len(entries) + 8
        directory, extra = struct.pack("=Q", len(entries)), b""
        for tag, code, values in entries:
            data = struct.pack(f"={len(values)}{code}", *values)
            if len(data) > 8:  # what does not fit the entry lies behind the directory
                place_of_data = struct.pack("=Q", extra_place + len(extra))
                data, extra = place_of_data, extra + data + bytes(-len(data) % 8)
            entry = struct.pack("=HHQ", tag, 3 if code == short else 16, len(values))
            directory += entry + data.ljust(8, b"\0")
        file.seek(place)
        file.write(directory + bytes(8) + extra)
        file.seek(0)
        mark = b"II" if sys.byteorder == "little" else b"MM"
        file.write(mark + struct.pack("=HHHQ", 43, 8, 0, place))
        file.flush()


def _reserve(file: IO[bytes], size: int) -> None:
    """Take the room on the disk that a file will need, where the system can."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
