"""Metadata in PNG files. Source: Portable Network Graphics, third edition."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mambairv2.images.metadata.model import Density, Metadata, Text

MARK = b"\x89PNG\r\n\x1a\n"
_COLOR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
LARGEST = 2**26
"""Bytes of metadata above which a chunk is left out, packed or unpacked."""


def read(file: IO[bytes]) -> Metadata:
    """Read the metadata of a PNG file."""
    exif, xmp, density = b"", b"", None
    text: list[Text] = []
    color: list[tuple[bytes, bytes]] = []
    notes: list[str] = []
    for kind, size, start in _chunks(file):
        if kind not in (*_COLOR, *_TEXT, b"eXIf", b"pHYs", b"acTL", b"caBX") or size > LARGEST:
            continue
        file.seek(start)
        data = file.read(size)
        if kind in _COLOR:
            color.append((kind, data))
        elif kind == b"eXIf":
            exif = data
        elif kind == b"pHYs" and size == 9:
            x, y, unit = struct.unpack(">IIB", data)
            density = Density(x, y, unit == 1) if x and y and (unit == 1 or x != y) else None
        elif kind == b"acTL" and size == 8 and (frames := int.from_bytes(data[:4], "big")) > 1:
            notes.append(f"only the first of {frames} frames of an animated PNG")
        elif kind == b"caBX":
            notes.append("content credentials left out: they do not hold for changed pixels")
        elif kind in _TEXT:
            one = _text(kind, data)
            if one.keyword == _XMP.decode():
                xmp = one.text.encode(errors="surrogateescape")
            else:
                text.append(one)
    return Metadata(exif, xmp, b"", tuple(text), tuple(color), density, notes=tuple(notes))


def write(plain: Path, target: Path, metadata: Metadata) -> None:
    """Copy a PNG with these metadata and without the resolution that libvips makes up."""
    with open(plain, "rb") as source, open(target, "wb") as out:
        chunks = list(_chunks(source, until=b"IDAT"))
        profiled = any(kind == b"iCCP" for kind, _, _ in chunks)
        source.seek(0)
        out.write(source.read(33))
        for kind, data in metadata.color:
            if not (profiled and kind == b"sRGB"):
                out.write(_chunk(kind, data))
        if density := metadata.density:
            out.write(_chunk(b"pHYs", struct.pack(">IIB", round(density.x), round(density.y), density.absolute)))
        if metadata.exif:
            out.write(_chunk(b"eXIf", metadata.exif))
        if metadata.xmp:
            out.write(_chunk(b"iTXt", _XMP + bytes(5) + metadata.xmp))
        for one in metadata.text:
            out.write(_chunk(*(one.chunk or _pack(one))))
        for kind, size, start in chunks[1:-1]:
            if kind != b"pHYs":
                source.seek(start - 8)
                out.write(source.read(size + 12))
        source.seek(chunks[-1][2] - 8)
        shutil.copyfileobj(source, out, 2**20)


def _chunks(file: IO[bytes], until: bytes = b"IEND") -> Iterator[tuple[bytes, int, int]]:
    """Type, size and place of the content of each chunk, up to the first of one type."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        yield kind, size, at + 8
        if kind == until:
            return
        at += 12 + size


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(kind: bytes, data: bytes) -> Text:
    keyword, _, rest = data.partition(b"\0")
    packed, coding = kind == b"zTXt", "latin-1"
    if packed:
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, coding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, LARGEST)
        except zlib.error:
            rest = b""
    return Text(keyword.decode("latin-1"), rest.decode(coding, "surrogateescape"), (kind, data))


def _pack(one: Text) -> tuple[bytes, bytes]:
    """Type and content of the chunk for a text that came from another format."""
    try:
        text = one.text.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8: Latin-1 has a letter for each
        text = one.text.encode(errors="surrogateescape").decode("latin-1").encode()
    keyword = (one.keyword.strip() or "Comment").encode("latin-1", "replace")[:79]
    return b"iTXt", keyword + bytes(5) + text.replace(b"\0", b"")
