"""Metadata in WebP files. Source: RFC 9649."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mambairv2.images.metadata.model import Metadata

_FLAGS = {b"EXIF": 8, b"XMP ": 4}
LARGEST = 2**26
"""Bytes of metadata above which a chunk is left out."""


def read(file: IO[bytes]) -> Metadata:
    """Read the metadata of a WebP file."""
    found = {b"EXIF": b"", b"XMP ": b""}
    lossless = False
    for kind, size, start in _chunks(file):
        if kind == b"ANMF":  # a frame: 16 bytes of place and time, then chunks of its own
            file.seek(start + 16)
            lossless |= file.read(4) == b"VP8L"
        lossless |= kind == b"VP8L"
        if kind in found and size <= LARGEST:
            file.seek(start)
            found[kind] = file.read(size)
    return Metadata(found[b"EXIF"].removeprefix(b"Exif\0\0"), found[b"XMP "], lossless=lossless)


def write(plain: Path, target: Path, metadata: Metadata) -> None:
    """Copy a WebP file that has no metadata but its profile with these."""
    added = {b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    with open(plain, "rb") as source, open(target, "wb") as out:
        chunks = list(_chunks(source))
        kind, size, start = chunks[0]
        source.seek(start)
        head = source.read(min(size, 30))
        if not any(added.values()):
            source.seek(0)
            shutil.copyfileobj(source, out, 2**20)
            return
        if kind != b"VP8X":
            head = _extended(kind, head)
            body = 12
        else:
            body = start + size + size % 2
        flags = head[0] | sum(_FLAGS[name] for name, data in added.items() if data)
        out.write(bytes(12) + _chunk(b"VP8X", bytes([flags]) + head[1:10]))
        source.seek(body)
        shutil.copyfileobj(source, out, 2**20)
        for name, data in added.items():
            if data:
                out.write(_chunk(name, data))
        total = out.tell()
        out.seek(0)
        out.write(b"RIFF" + struct.pack("<I", total - 8) + b"WEBP")


def _extended(kind: bytes, head: bytes) -> bytes:
    """The extended header for a file of one chunk of pixels: flags, size. Source: RFC 9649 and RFC 6386."""
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bits >> 28 & 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 6))
        alpha = 0
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes([0x10 * alpha, 0, 0, 0]) + sides


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Type, size and place of the content of each chunk."""
    at = 12
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield head[:4], size, at + 8
        at += 8 + size + size % 2
