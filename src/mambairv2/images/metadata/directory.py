"""Directories of tags, as TIFF files and EXIF blocks hold them. Source: TIFF 6.0, and BigTIFF of libtiff."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value, by the type's number; 5 and 10 are fractions of two."""
LARGEST = 2**26
"""Bytes of one value above which a file is taken for damaged."""
_POINTERS = {34665, 34853, 40965}
"""Tags whose value is the place of another directory: EXIF, GPS and interoperability."""


@dataclass(frozen=True)
class Layout:
    """Byte order (`<` or `>`) and whether places are 64 bits wide (BigTIFF)."""

    order: str
    big: bool = False

    @property
    def entry(self) -> int:
        """Bytes of an entry."""
        return 20 if self.big else 12

    @property
    def place(self) -> str:
        """Format of a place."""
        return self.order + ("Q" if self.big else "I")


@dataclass(frozen=True)
class Entry:
    """A tag and its values, in little-endian order whatever the file's; or the directory that it points to."""

    tag: int
    kind: int
    data: bytes = b""
    inside: tuple[Entry, ...] | None = None

    def number(self) -> int:
        """The first value of an integer type."""
        return int.from_bytes(self.data[: SIZES[self.kind]], "little")


@dataclass(frozen=True)
class Directory:
    """A directory as it lies in a file."""

    offset: int
    entries: tuple[Entry, ...]
    count: int
    """How many entries there are, with those that are not understood."""
    next_link: int
    """Where the place of the next directory is written."""
    next: int


def read_header(file: IO[bytes]) -> tuple[Layout, int, int]:
    """Return the layout, where the place of the first directory is written, and that place.

    Raises ValueError for what is no TIFF structure.
    """
    file.seek(0)
    head = file.read(16)
    orders = {b"II": "<", b"MM": ">"}
    if head[:2] not in orders or len(head) < 8:
        raise ValueError("no byte order mark")
    order = orders[head[:2]]
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 43:
        return Layout(order, True), 8, struct.unpack(order + "Q", head[8:16])[0]
    return Layout(order), 4, struct.unpack(order + "I", head[4:8])[0]


def read_directory(file: IO[bytes], offset: int, layout: Layout, depth: int = 0) -> Directory:
    """Read the directory at a place, with those it points to. Raises ValueError or struct.error if damaged."""
    counted = layout.order + ("Q" if layout.big else "H")
    file.seek(offset)
    count = struct.unpack(counted, file.read(struct.calcsize(counted)))[0]
    if count > 4096:
        raise ValueError(f"{count} tags")
    start = offset + struct.calcsize(counted)
    block = file.read(count * layout.entry)
    link = start + count * layout.entry
    width = struct.calcsize(layout.place)
    following = file.read(width)
    entries = []
    for at in range(0, len(block) - layout.entry + 1, layout.entry):
        tag, kind = struct.unpack_from(layout.order + "HH", block, at)
        values = struct.unpack_from(layout.place, block, at + 4)[0]
        field = block[at + 4 + width : at + layout.entry]
        size = SIZES.get(kind, 0) * values
        if not 0 < size <= LARGEST:
            continue
        if tag in _POINTERS and depth < 2:
            inner = read_directory(file, struct.unpack_from(layout.place, field)[0], layout, depth + 1)
            entries.append(Entry(tag, 4, inside=inner.entries))
            continue
        if size > width:
            file.seek(struct.unpack(layout.place, field)[0])
            field = file.read(size)
            if len(field) < size:
                raise ValueError(f"tag {tag} is cut short")
        entries.append(Entry(tag, kind, _ordered(field[:size], kind, layout.order)))
    last = struct.unpack(layout.place, following)[0] if len(following) == width else 0
    return Directory(offset, tuple(entries), count, link, last)


def pack(entries: Iterable[Entry], offset: int, layout: Layout, following: int = 0) -> bytes:
    """Return the bytes of a directory that will lie at `offset`, with its values and inner directories behind it.

    following: the place of the next directory, 0 for none.
    """
    entries = sorted(entries, key=lambda entry: entry.tag)
    width = struct.calcsize(layout.place)
    counted = layout.order + ("Q" if layout.big else "H")
    head = struct.pack(counted, len(entries))
    behind = offset + len(head) + layout.entry * len(entries) + width
    more = b""
    for entry in entries:
        more += bytes(-(behind + len(more)) % 8)
        at = behind + len(more)
        if entry.inside is not None:
            more += pack(entry.inside, at, layout)
            kind, count, field = (18 if layout.big else 4), 1, struct.pack(layout.place, at)
        else:
            data = _ordered(entry.data, entry.kind, layout.order)
            kind, count = entry.kind, len(data) // SIZES[entry.kind]
            field = data
            if len(data) > width:
                more += data
                field = struct.pack(layout.place, at)
        head += struct.pack(layout.order + "HH", entry.tag, kind) + struct.pack(layout.place, count)
        head += field.ljust(width, b"\0")
    return head + struct.pack(layout.place, following) + more


def _ordered(data: bytes, kind: int, order: str) -> bytes:
    """Turn values between little-endian and another byte order."""
    unit = 4 if kind in (5, 10) else SIZES[kind]
    if order == "<" or unit == 1:
        return data
    return b"".join(data[at : at + unit][::-1] for at in range(0, len(data), unit))
