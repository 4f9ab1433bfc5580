"""What of an input's metadata holds for the output, and what the output's format can hold."""

from __future__ import annotations

import struct
from dataclasses import replace

from mambairv2.images.metadata import exif, jpeg, photoshop, tiff, xmp
from mambairv2.images.metadata.directory import Entry
from mambairv2.images.metadata.model import Metadata
from mambairv2.images.metadata.table import SAME, TAGS, WORDS, held

_SRGB = {
    b"gAMA": {struct.pack(">I", 45455), struct.pack(">I", 45454)},
    b"cHRM": {struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)},
    b"cICP": {bytes((1, 13, 0, 1))},
}
"""What says no more than that the colours are sRGB, as they are in a file that says nothing."""
Noted = tuple[Metadata, tuple[str, ...]]


def bare(metadata: Metadata) -> Metadata:
    """Return what is left when metadata are stripped: nothing private, but how colours look and the resolution."""
    return replace(metadata, exif=b"", xmp=b"", iptc=b"", text=())


def make_true(metadata: Metadata, size: tuple[int, int]) -> Noted:
    """Return metadata that hold for the upright output of a size (height, width), and notes for the user."""
    turned = metadata.orientation > 1
    notes = metadata.notes
    density, block, packet = metadata.density, metadata.exif, metadata.xmp
    if density is not None and metadata.orientation >= 5:
        density = replace(density, x=density.y, y=density.x)
    if block:
        try:
            block = exif.make_true(block, size, turned)
        except (ValueError, struct.error, IndexError, StopIteration):
            block, notes = b"", (*notes, "EXIF damaged: left out")
    if packet:
        try:
            packet, more = xmp.make_true(packet, size, turned)
            notes += more
        except ValueError:
            packet, notes = b"", (*notes, "XMP damaged: left out")
    resources = photoshop.kept(metadata.iptc, turned)
    return replace(metadata, exif=block, xmp=packet, iptc=resources, density=density, notes=()), notes


def fit(metadata: Metadata, suffix: str, profiled: bool) -> Noted:
    """Return what a file with this suffix holds of the metadata, and notes on the rest.

    profiled: the output has a colour profile, which most of what PNG says of colours stands behind.
    """
    kinds, notes = held(suffix), list[str]()
    if not metadata.exif and "text" not in kinds:
        metadata = _texts_as_tags(metadata)
    if metadata.density and "density" not in kinds:
        metadata = _density_as_tags(metadata)
    lost = {
        "iptc": photoshop.iptc(metadata.iptc) != b"",
        "text": ", ".join(dict.fromkeys(one.keyword for one in metadata.text)),
        "color": " ".join(kind.decode() for kind, data in metadata.color if _matters(kind, data, profiled)),
        "density": metadata.density is not None,
    }
    for kind, found in lost.items():
        if found and kind not in kinds:
            more = f" ({found})" if kind == "text" else f" {found}" if kind == "color" else ""
            notes.append(f"{WORDS[kind]}{more} left out: {suffix} has no place for it")
    metadata = replace(
        metadata,
        iptc=metadata.iptc if "iptc" in kinds else b"",
        text=metadata.text if "text" in kinds else (),
        color=metadata.color if "color" in kinds else (),
        density=metadata.density if "density" in kinds else None,
    )
    same = SAME.get(suffix, suffix)
    if same == ".tif" and metadata.exif and exif.has_maker_note(metadata.exif):
        notes.append(f"the camera's own notes left out: {suffix} has no place for them")
    if same == ".jpg":
        for kind, block in (("exif", metadata.exif), ("xmp", metadata.xmp)):
            if len(block) > jpeg.ROOM[kind]:
                notes.append(f"{WORDS[kind]} left out: {len(block) / 1000:.0f} kB are too large for {suffix}")
                metadata = replace(metadata, exif=b"") if kind == "exif" else replace(metadata, xmp=b"")
    return metadata, tuple(notes)


def _matters(kind: bytes, data: bytes, profiled: bool) -> bool:
    """Tell whether colours look different without this chunk."""
    if kind == b"sRGB" or (profiled and kind in (b"gAMA", b"cHRM")):
        return False
    return data not in _SRGB.get(kind, ())


def _density_as_tags(metadata: Metadata) -> Metadata:
    """Put a resolution into EXIF, where that has none yet."""
    if metadata.density is None:
        return metadata
    try:
        there = exif.to_tags(metadata.exif) if metadata.exif else ()
        if any(entry.tag in exif.DENSITY for entry in there):
            return replace(metadata, density=None)
        if metadata.exif and exif.has_maker_note(metadata.exif):
            return metadata
        block = exif.from_tags([*there, *tiff.density_tags(metadata.density)])
    except (ValueError, struct.error):
        return metadata
    return replace(metadata, exif=block, density=None)


def _texts_as_tags(metadata: Metadata) -> Metadata:
    """Put the texts that have a tag of their own into EXIF."""
    tags, rest = dict[int, bytes](), []
    for one in metadata.text:
        tag = TAGS.get(one.keyword)
        if tag is None or tag in tags:
            rest.append(one)
        else:
            tags[tag] = one.text.encode(errors="surrogateescape").replace(b"\0", b"") + b"\0"
    entries = [Entry(tag, 2, data) for tag, data in tags.items()]
    return replace(metadata, exif=exif.from_tags(entries), text=tuple(rest))
