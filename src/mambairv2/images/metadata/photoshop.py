"""Image resources of Photoshop (8BIM), in which JPEG keeps IPTC. Source: Adobe Photoshop File Formats."""

from __future__ import annotations

import struct

_IPTC = 0x0404
_KEPT = frozenset((_IPTC, 0x0425, 0x040A, 0x040B, *range(0x07D0, 0x0BB8)))
"""IPTC and its digest, the copyright flag, the address, and paths, whose points are parts of the width and height."""


def kept(resources: bytes, turned: bool) -> bytes:
    """Return the resources that hold for the output too: no thumbnail, no resolution, no guides.

    turned: the picture was rotated or mirrored, so that its paths are no longer true.
    """
    return b"".join(
        _pack(number, name, data)
        for number, name, data in _split(resources)
        if number in _KEPT and not (turned and number >= 0x07D0)
    )


def iptc(resources: bytes) -> bytes:
    """Return the IPTC records among the resources; empty if there are none."""
    return next((data for number, _, data in _split(resources) if number == _IPTC), b"")


def of_iptc(records: bytes) -> bytes:
    """Return IPTC records as a resource; empty for none."""
    return _pack(_IPTC, b"\0\0", records) if records else b""


def _split(resources: bytes) -> list[tuple[int, bytes, bytes]]:
    """Number, name as stored, and data of each whole resource."""
    found, at = [], 0
    while resources[at : at + 4] == b"8BIM" and at + 7 <= len(resources):
        number = int.from_bytes(resources[at + 4 : at + 6], "big")
        length = 1 + resources[at + 6]
        length += length % 2
        name = resources[at + 6 : at + 6 + length]
        at += 6 + length
        size = int.from_bytes(resources[at : at + 4], "big")
        if at + 4 + size > len(resources):
            break
        found.append((number, name, resources[at + 4 : at + 4 + size]))
        at += 4 + size + size % 2
    return found


def _pack(number: int, name: bytes, data: bytes) -> bytes:
    head = b"8BIM" + struct.pack(">H", number) + name + struct.pack(">I", len(data))
    return head + data + bytes(len(data) % 2)
