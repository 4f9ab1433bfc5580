"""Whole files that cannot be read here: which format they have, so that nobody calls them damaged."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import IO

_MARKS = (
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"P7\n|P[Ff]\n", "PAM or PFM"),
    (rb"8BPS", "Photoshop"),
    (rb"gimp xcf", "GIMP"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"#\?RADIANCE|#\?RGBE", "Radiance HDR"),
    (rb"DDS ", "DDS"),
    (rb"\0\0[\x01\x02]\0[^\0]", "ICO"),
    (rb"qoif", "QOI"),
    (rb"II\xbc", "JPEG XR"),
    (rb"\x0a[\0-\x05]\x01[\x01-\x08]", "PCX"),
    (rb"SIMPLE  =", "FITS"),
    (rb"AT&TFORM", "DjVu"),
    (rb"FUJIFILMCCD-RAW|....ftypcrx |II\x1a\0\0\0HEAPCCDR|IIRO|IIU\0", "camera raw"),
    (rb"....ftyp(avis|msf1|hevc|hevx|hevm|hevs)", "AVIF or HEIC sequence"),
    (rb"....ftyp(isom|iso\d|mp4.|qt  |M4V |avc1|3gp.|mmp4)", "video"),
    (rb".{12}CgBI", "PNG of iOS apps (CgBI)"),
)
"""First bytes of files of which none is read, and what they are."""
_KINDS = ((rb"BM", "BMP of 16 bits or run lengths"),)
"""First bytes of files of which some are read."""
_SAID = (
    (r"compression format has not been built in: (\w+)", "HEIC or HEIF ({})"),
    (r"(\w[\w-]*) compression support is not configured", "TIFF with {} compression"),
    (r"Compression scheme (\d+)", "TIFF with compression {}"),
)
"""What libvips says of files that it has no decoder for, and what they are."""
_JPEG_KINDS = {0xC3: "lossless JPEG", 0xF7: "JPEG-LS", 0xC5: "hierarchical JPEG", 0xC7: "lossless JPEG"}


def kind_of(path: Path, said: str) -> str | None:
    """Return the name of the format of a file that libvips refused; None if it is one that is read.

    said: the error of libvips.
    """
    for pattern, name in _SAID:
        if found := re.search(pattern, said):
            return name.format(found.group(1))
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            if head.startswith(b"\xff\xd8"):
                return _jpeg(file)
    except OSError:
        return None
    return _named(head, _MARKS + _KINDS)


def foreign(path: Path) -> str | None:
    """Return what to say of a file whose first bytes are those of a format that is not supported; None otherwise."""
    try:
        with open(path, "rb") as file:
            kind = _named(file.read(32), _MARKS)
    except OSError:
        return None
    return kind and _refusal(path, kind)


def _named(head: bytes, marks: tuple[tuple[bytes, str], ...]) -> str | None:
    return next((name for pattern, name in marks if re.match(pattern, head, re.DOTALL)), None)


def refusal(path: Path, said: str) -> str | None:
    """Return what to say of a file whose format is not supported; None if its format is."""
    kind = kind_of(path, said)
    return kind and _refusal(path, kind)


def _refusal(path: Path, kind: str) -> str:
    return f"{path}: is a {kind} file, which is not supported; convert it to PNG or TIFF"


def _jpeg(file: IO[bytes]) -> str | None:
    """Return the kind of a JPEG that is not of 8 bits and lossy."""
    file.seek(2)
    while (head := file.read(4)) and len(head) == 4 and head[0] == 0xFF:
        if head[1] in _JPEG_KINDS:
            return _JPEG_KINDS[head[1]]
        if 0xC0 <= head[1] <= 0xCF and head[1] not in (0xC4, 0xC8, 0xCC):
            bits = file.read(1)
            return f"{bits[0]}-bit JPEG" if bits and bits[0] == 12 else None
        file.seek(struct.unpack(">H", head[2:])[0] - 2, 1)
    return None
