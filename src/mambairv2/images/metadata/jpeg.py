"""Metadata in JPEG files. Source: ITU-T T.81 and T.871 (JFIF), CIPA DC-008 (Exif) and DC-007 (several pictures)."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mambairv2.images.metadata.directory import read_directory, read_header
from mambairv2.images.metadata.model import Density, Metadata, Text

MARK = b"\xff\xd8\xff"
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_INCH = 0.0254
SEGMENT = 65533
"""Bytes that a segment holds."""
ROOM = {"exif": SEGMENT - len(_EXIF), "xmp": SEGMENT - len(_XMP)}
"""Bytes of EXIF and of XMP that fit."""


def read(file: IO[bytes]) -> Metadata:
    """Read the metadata of a JPEG file."""
    exif, xmp, resources, density = b"", b"", b"", None
    text: list[Text] = []
    notes: list[str] = []
    for marker, data in segments(file):
        if marker == 0xE0 and data[:5] == b"JFIF\0" and len(data) >= 12:
            unit, x, y = struct.unpack_from(">BHH", data, 7)
            metre = {1: 1 / _INCH, 2: 100.0}.get(unit, 1.0)
            density = Density(x * metre, y * metre, unit in (1, 2)) if x and y and (unit or x != y) else None
        elif marker == 0xE1 and data.startswith(_EXIF) and not exif:
            exif = data[len(_EXIF) :]
        elif marker == 0xE1 and data.startswith(_XMP) and not xmp:
            xmp = data[len(_XMP) :]
        elif marker == 0xE1 and data.startswith(_MORE_XMP):
            notes.append("extended XMP left out")
        elif marker == 0xE2 and data.startswith(b"MPF\0") and (others := _pictures(data[4:]) - 1) > 0:
            notes.append(f"{others} more picture{'s' * (others > 1)} in the file left out")
        elif marker == 0xEB and b"jumb" in data[:32]:
            notes.append("content credentials left out: they do not hold for changed pixels")
        elif marker == 0xED and data.startswith(_PHOTOSHOP):
            resources += data[len(_PHOTOSHOP) :]
        elif marker == 0xFE:
            text.append(Text("Comment", data.rstrip(b"\0").decode(errors="surrogateescape")))
    return Metadata(exif, xmp, resources, tuple(text), (), density, notes=tuple(dict.fromkeys(notes)))


def pixels_start(file: IO[bytes]) -> int:
    """Return where the pixels of a JPEG begin; 0 where they cannot be found."""
    for _ in segments(file):
        pass
    place = file.tell()
    file.seek(place - 2)
    return place if file.read(2) == b"\xff\xda" else 0


def write(plain: Path, target: Path, metadata: Metadata) -> None:
    """Copy a JPEG that has no metadata but its profile with these."""
    with open(plain, "rb") as source, open(target, "wb") as out:
        out.write(source.read(2))
        if source.read(4)[:2] != b"\xff\xe0":  # no JFIF of the encoder's own
            out.write(_segment(0xE0, b"JFIF\0\1\1" + _density(metadata.density) + bytes(2)))
        if metadata.exif:
            out.write(_segment(0xE1, _EXIF + metadata.exif))
        if metadata.xmp:
            out.write(_segment(0xE1, _XMP + metadata.xmp))
        room = SEGMENT - len(_PHOTOSHOP)
        for at in range(0, len(metadata.iptc), room):
            out.write(_segment(0xED, _PHOTOSHOP + metadata.iptc[at : at + room]))
        for one in metadata.text:
            words = one.text if one.keyword == "Comment" else f"{one.keyword}: {one.text}"
            content = words.encode(errors="surrogateescape")
            for at in range(0, len(content), SEGMENT):
                out.write(_segment(0xFE, content[at : at + SEGMENT]))
        source.seek(2)
        shutil.copyfileobj(source, out, 2**20)


def _density(density: Density | None) -> bytes:
    """Unit and pixels per unit in x and y, as JFIF has them."""
    if density is None:
        return struct.pack(">BHH", 0, 1, 1)
    if density.absolute:
        inch = [max(1, min(65535, round(side * _INCH))) for side in (density.x, density.y)]
        return struct.pack(">BHH", 1, *inch)
    shrink = max(density.x, density.y, 65535) / 65535
    return struct.pack(">BHH", 0, max(1, round(density.x / shrink)), max(1, round(density.y / shrink)))


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def segments(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the pixels."""
    file.seek(2)
    while mark := file.read(1):
        if mark != b"\xff":  # bytes that do not belong there, which decoders pass over
            continue
        while (code := file.read(1)) == b"\xff":
            pass
        marker = code[0] if code else 0xD9
        if marker in (0xD9, 0xDA):
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(file.read(2), "big")
        yield marker, file.read(max(0, length - 2))


def _pictures(index: bytes) -> int:
    """How many pictures the index of a file of several tells of."""
    try:
        file = io.BytesIO(index)
        layout, _, first = read_header(file)
        entries = read_directory(file, first, layout).entries
    except (ValueError, struct.error):
        return 1
    return next((entry.number() for entry in entries if entry.tag == 0xB001), 1)
