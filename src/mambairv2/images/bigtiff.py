"""The directory of an uncompressed BigTIFF whose pixels are written already."""

from __future__ import annotations

import struct
import sys
from typing import IO

from mambairv2.images.arrays import Depth

HEADER = 16
"""Bytes before the pixels."""


def write_directory(file: IO[bytes], shape: tuple[int, int, int], depth: Depth) -> None:
    """Make a TIFF of a file that holds `HEADER` free bytes and pixels, in strips of whole rows.

    shape: height, width, channels of the pixels, 1 (grey) or 3 (RGB). Source: the BigTIFF design of libtiff.
    """
    height, width, channels = shape
    row_bytes = width * channels * depth.itemsize
    rows = max(1, 2**18 // row_bytes)
    starts = range(0, height, rows)
    offsets = [HEADER + start * row_bytes for start in starts]
    lengths = [min(rows, height - start) * row_bytes for start in starts]
    kind = 3 if depth.kind == "f" else 1
    short, long = "H", "Q"
    entries = [
        (256, short if width < 65536 else long, [width]),
        (257, short if height < 65536 else long, [height]),
        (258, short, [8 * depth.itemsize] * channels),
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
