"""A canvas that collects restored rows until the image is complete: in memory if small, else in a temporary file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import pyvips

from mambairv2.files import atomic
from mambairv2.images.arrays import Depth, Samples
from mambairv2.images.bigtiff import HEADER, write_directory
from mambairv2.images.errors import writing
from mambairv2.images.loaders.sources import source_of

IN_MEMORY = 64 * 2**20
"""Bytes up to which an output is kept in memory."""


class Canvas:
    """Rows are added from top to bottom, then read as a libvips image; the context removes the temporary file.

    A large canvas is an uncompressed BigTIFF, which libvips streams in little memory. It would map a raw file into
    memory as a whole.
    """

    def __init__(
        self, size: tuple[int, int], channels: int, depth: Depth, target: Path | None = None, like: Path | None = None
    ) -> None:
        """Reserve the memory or the room on the disk.

        size: height, width. target: the output, beside which a temporary file may be made; None keeps all in memory.
        like: the input, whose permissions the temporary file gets.
        Raises ImageError, naming `target`, when the disk is full: at once, not after the work.
        """
        self.shape = (size[0], size[1], channels)
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
            descriptor, self._path = atomic.create(target.parent, ".tif", atomic.permissions(like))
            self._file = os.fdopen(descriptor, "w+b")
            try:
                _reserve(self._file, HEADER + self._row_bytes * size[0])
                self._file.write(bytes(HEADER))
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
        """Add the next rows, (n, W, C), of the dtype of the canvas."""
        assert (rows.dtype, rows.shape[1:]) == (self.depth, self.shape[1:]), (rows.dtype, rows.shape)
        if self._memory is not None:
            self._memory[self._filled : self._filled + len(rows)] = rows
        elif self._file is not None:
            with writing(self._target):
                self._file.write(np.ascontiguousarray(rows).data)
        self._filled += len(rows)

    def image(self) -> pyvips.Image:
        """Return the complete image. It is valid while the canvas is open, and is read from top to bottom, once."""
        assert self._filled == self.shape[0], (self._filled, self.shape)
        if self._memory is not None:
            return pyvips.Image.new_from_array(self._memory)
        assert self._file is not None
        with writing(self._target):
            write_directory(self._file, self.shape, self.depth)
        return pyvips.Image.new_from_source(source_of(self._path), "", access="sequential")


def _reserve(file: IO[bytes], size: int) -> None:
    """Reserve the room on the disk that a file will need, where the system can."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
