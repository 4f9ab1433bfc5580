"""EXIF blocks: made true for a restored image, and turned into TIFF tags and back.

Source: CIPA DC-008 (Exif 3.0). A block is changed in place, so that a camera's own notes, whose inner places nobody
but its maker knows, stay readable.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

from mambairv2.images.metadata.directory import SIZES, Directory, Entry, Layout, pack, read_directory, read_header

EXIF = 34665
MAKER_NOTE = 37500
_SIZES_OF_IMAGE = {256: 0, 257: 1, 40962: 0, 40963: 1}
"""Tags that tell the width (0) or the height (1) in pixels."""
_UNTRUE = {37396, 41492}
"""Subject area and location, in pixels of the picture as it was taken."""
_STRUCTURE = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, 274, *range(277, 282), 284, *range(288, 294), 297, 301)
    + (317, 318, 319, 320, 321, *range(322, 326), 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 343, 344)
    + (347, *range(512, 522), 529, 530, 531, 532, 34675, 700, 33723, 34377, 37724, 33550, 33922, 34264)
)
"""Tags of a TIFF that tell how its pixels are stored, that are handled apart (profile, XMP, IPTC), or that are no
longer true: layers, and the places on Earth of pixels."""
DENSITY = frozenset((282, 283, 296))
"""Resolution in x and y, and its unit."""


def make_true(exif: bytes, size: tuple[int, int], turned: bool) -> bytes:
    """Return the block with orientation 1, the size (height, width) of the output, and no thumbnail.

    turned: the picture was rotated or mirrored, so that places in it are no longer true. Raises ValueError or
    struct.error if the block is damaged.
    """
    file = io.BytesIO(exif)
    layout, _, first = read_header(file)
    if layout.big:
        raise ValueError("EXIF is never a BigTIFF")
    block = bytearray(exif)
    main = read_directory(file, first, layout)
    _rewrite(block, main, layout, size)
    pointer = next((entry for entry in main.entries if entry.tag == EXIF), None)
    if pointer is not None:
        place = struct.unpack_from(layout.place, exif, _field(exif, main, layout, EXIF))[0]
        _rewrite(block, read_directory(file, place, layout), layout, size)
    if main.next:
        _blank_thumbnail(block, exif, read_directory(file, main.next, layout), layout)
    return bytes(block).rstrip(b"\0").ljust(_end(block, layout), b"\0")


def _end(block: bytearray, layout: Layout) -> int:
    """The end of what the directories of a block reach."""
    file = io.BytesIO(block)
    places, seen = [read_header(file)[2]], set[int]()
    end = 0
    while places:
        if places[-1] in seen:
            raise ValueError("directories in a circle")
        seen.add(places[-1])
        directory = read_directory(file, places.pop(), layout)
        end = max(end, directory.next_link + 4)
        for tag, kind, count, at in _raw(block, directory, layout):
            place = struct.unpack_from(layout.place, block, at)[0]
            if tag in (EXIF, 34853, 40965):
                places.append(place)
            elif (size := SIZES.get(kind, 0) * count) > 4:
                end = max(end, place + size)
    return min(end, len(block))


def _raw(block: bytes | bytearray, directory: Directory, layout: Layout) -> Iterable[tuple[int, int, int, int]]:
    """Tag, type, number of values and place of the field of each entry of a classic directory."""
    for at in range(directory.offset + 2, directory.next_link - 11, 12):
        tag, kind, count = struct.unpack_from(layout.order + "HHI", block, at)
        yield tag, kind, count, at + 8


def _field(block: bytes | bytearray, directory: Directory, layout: Layout, wanted: int) -> int:
    return next(at for tag, _, _, at in _raw(block, directory, layout) if tag == wanted)


def _rewrite(block: bytearray, directory: Directory, layout: Layout, size: tuple[int, int]) -> None:
    """Correct a directory where it lies; what is left out makes it shorter."""
    kept = []
    for tag, kind, count, at in _raw(block, directory, layout):
        entry = bytes(block[at - 8 : at + 4])
        if tag == 274:
            entry = struct.pack(layout.order + "HHIHH", tag, 3, 1, 1, 0)
        elif tag in _SIZES_OF_IMAGE:
            entry = struct.pack(layout.order + "HHII", tag, 4, 1, size[1 - _SIZES_OF_IMAGE[tag]])
        elif tag in _UNTRUE:
            if (length := SIZES.get(kind, 0) * count) > 4:
                place = struct.unpack_from(layout.place, block, at)[0]
                block[place : place + length] = bytes(len(block[place : place + length]))
            continue
        kept.append(entry)
    whole = struct.pack(layout.order + "H", len(kept)) + b"".join(kept) + bytes(4)
    block[directory.offset : directory.next_link + 4] = whole.ljust(directory.next_link + 4 - directory.offset, b"\0")


def _blank_thumbnail(block: bytearray, exif: bytes, thumbnail: Directory, layout: Layout) -> None:
    """Overwrite a thumbnail and its directory with zeros."""
    found = {entry.tag: entry.number() for entry in thumbnail.entries if entry.inside is None}
    spans = [(thumbnail.offset, thumbnail.next_link + 4 - thumbnail.offset)]
    spans += [(found.get(513, 0), found.get(514, 0)), (found.get(273, 0), found.get(279, 0))]
    for _, kind, count, at in _raw(exif, thumbnail, layout):
        if (length := SIZES.get(kind, 0) * count) > 4:
            spans.append((struct.unpack_from(layout.place, exif, at)[0], length))
    for place, length in spans:
        if 8 <= place < len(block):
            block[place : place + length] = bytes(len(block[place : place + length]))


def to_tags(exif: bytes) -> tuple[Entry, ...]:
    """Return the tags of a block that a TIFF file may hold beside its own, without a camera's maker note."""
    file = io.BytesIO(exif)
    layout, _, first = read_header(file)
    return descriptive(read_directory(file, first, layout).entries)


def from_tags(entries: Iterable[Entry]) -> bytes:
    """Return a block of these tags; empty for none."""
    entries = tuple(entries)
    return b"II*\0" + struct.pack("<I", 8) + pack(entries, 8, Layout("<")) if entries else b""


def descriptive(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the tags of a TIFF directory that describe the picture rather than how its pixels are stored."""
    kept = []
    for entry in entries:
        if entry.tag in _STRUCTURE or entry.tag == MAKER_NOTE or entry.kind > 13:
            continue
        inside = entry.inside if entry.inside is None else descriptive(entry.inside)
        kept.append(Entry(entry.tag, entry.kind, entry.data, inside))
    return tuple(kept)


def has_maker_note(exif: bytes) -> bool:
    """Tell whether a camera's own notes are in a block."""
    file = io.BytesIO(exif)
    layout, _, first = read_header(file)
    inner = (entry.inside for entry in read_directory(file, first, layout).entries if entry.tag == EXIF)
    return any(entry.tag == MAKER_NOTE for inside in inner for entry in inside or ())
