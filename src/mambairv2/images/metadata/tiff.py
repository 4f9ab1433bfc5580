"""Metadata in TIFF files. Source: TIFF 6.0, its technical notes on EXIF and XMP, and Photoshop's on resources."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

from mambairv2.images.metadata import exif, photoshop
from mambairv2.images.metadata.directory import Directory, Entry, Layout, pack, read_directory, read_header
from mambairv2.images.metadata.model import Density, Metadata

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_METRE = {2: 1 / 0.0254, 3: 100.0}
"""Units in a metre, by the number of the unit: inch, centimetre."""


@dataclass(frozen=True)
class Page:
    """A page of a TIFF file, as its directory tells of it."""

    metadata: Metadata
    role: str
    """`thumbnail`, `mask`, or empty for a page of its own."""
    icclab: bool = False
    """Whether its samples are to be taken for ICCLAB: they are, or they are 8-bit CIELAB."""


def read(file: IO[bytes]) -> tuple[Page, ...]:
    """Read what the directories of a TIFF file tell. Raises ValueError or struct.error for a damaged one."""
    return tuple(_page(directory) for _, directory in _directories(file))


def write(target: Path, pages: Sequence[Metadata]) -> None:
    """Give the pages of a TIFF file, in place, these metadata, and no resolution but theirs."""
    with open(target, "r+b") as file:
        for number, (layout, directory) in enumerate(list(_directories(file))):
            one = pages[min(number, len(pages) - 1)]
            kept = [entry for entry in directory.entries if entry.tag not in exif.DENSITY]
            there = {entry.tag for entry in kept}
            new = [entry for entry in _tags(one) if entry.tag not in there]
            place = file.seek(0, io.SEEK_END)
            place += -place % 8
            # The directory that follows may have moved already, if it lay before: it is linked again at its turn.
            block = pack([*kept, *new], place, layout, directory.next)
            file.seek(place)
            file.write(block)
            file.seek(_link(file, number))
            file.write(struct.pack(layout.place, place))


def _link(file: IO[bytes], number: int) -> int:
    """Where the place of a page's directory is written now."""
    layout, link, place = read_header(file)
    for _ in range(number):
        directory = read_directory(file, place, layout)
        link, place = directory.next_link, directory.next
    return link


def _directories(file: IO[bytes]) -> list[tuple[Layout, Directory]]:
    layout, _, place = read_header(file)
    found: list[tuple[Layout, Directory]] = []
    seen = set[int]()
    while place and place not in seen and len(found) < 65536:
        seen.add(place)
        found.append((layout, read_directory(file, place, layout)))
        place = found[-1][1].next
    return found


def call_icclab(file: IO[bytes]) -> None:
    """Say in every directory of a file of CIELAB that it is ICCLAB, in place."""
    for layout, directory in _directories(file):
        start = directory.next_link - layout.entry * directory.count
        for at in range(start, directory.next_link, layout.entry):
            file.seek(at)
            if file.read(2) == struct.pack(layout.order + "H", 262):
                file.seek(at + layout.entry - struct.calcsize(layout.place))
                file.write(struct.pack(layout.order + "H", 9))


def _page(directory: Directory) -> Page:
    found = {entry.tag: entry for entry in directory.entries}

    def number(tag: int, default: int) -> int:
        return found[tag].number() if tag in found and found[tag].inside is None else default

    def content(tag: int) -> bytes:
        return found[tag].data if tag in found else b""

    kind = number(254, {2: 1}.get(number(255, 1), 0))
    resources = content(34377)
    if not photoshop.iptc(resources):
        resources += photoshop.of_iptc(_records(found.get(33723)))
    tags = [entry for entry in exif.descriptive(directory.entries) if entry.tag not in exif.DENSITY]
    metadata = Metadata(
        exif=exif.from_tags(tags),
        xmp=content(700),
        iptc=resources,
        density=density_in(directory.entries),
    )
    role = "mask" if kind & 4 else "thumbnail" if kind & 1 else ""
    color = number(262, 0)
    return Page(metadata, role, color == 9 or (color == 8 and number(258, 1) == 8))


def _records(entry: Entry | None) -> bytes:
    """IPTC records, which many programs store as 32-bit numbers in the file's byte order."""
    data = entry.data if entry is not None else b""
    if entry is not None and entry.kind == 4 and data[:1] != b"\x1c" and data[3:4] == b"\x1c":
        return b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return data


def density_in(entries: Iterable[Entry]) -> Density | None:
    """Return the resolution that tags tell; None for none."""
    found = {entry.tag: entry for entry in entries if entry.inside is None}
    unit = found[296].number() if 296 in found else 2
    sides = []
    for tag in (282, 283):
        entry = found.get(tag)
        if entry is None or entry.kind != 5:
            return None
        above, below = struct.unpack("<II", entry.data[:8])
        sides.append(above / below if below else 0.0)
    if min(sides) <= 0 or (unit not in _METRE and sides[0] == sides[1]):
        return None
    metre = _METRE.get(unit, 1.0)
    return Density(sides[0] * metre, sides[1] * metre, unit in _METRE)


def density_tags(density: Density) -> list[Entry]:
    """Return a resolution as tags."""
    entries = []
    for tag, side in ((282, density.x), (283, density.y)):
        fraction = Fraction(side * 0.0254 if density.absolute else side).limit_denominator(1000)
        if abs(fraction - round(fraction)) < Fraction(1, 200):  # 300 dpi that another format rounded
            fraction = Fraction(round(fraction))
        above = max(1, min(fraction.numerator, 2**32 - 1))
        entries.append(Entry(tag, 5, struct.pack("<II", above, fraction.denominator)))
    return [*entries, Entry(296, 3, struct.pack("<H", 2 if density.absolute else 1))]


def _tags(one: Metadata) -> list[Entry]:
    """The tags that hold metadata."""
    entries = list(exif.to_tags(one.exif)) if one.exif else []
    if one.density is not None:
        entries = [entry for entry in entries if entry.tag not in exif.DENSITY] + density_tags(one.density)
    if one.xmp:
        entries.append(Entry(700, 1, one.xmp))
    if one.iptc:
        entries.append(Entry(34377, 1, one.iptc))
    if records := photoshop.iptc(one.iptc):
        entries.append(Entry(33723, 7, records))
    return entries
