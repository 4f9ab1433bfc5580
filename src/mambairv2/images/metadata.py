"""Metadata of an image file: what an output carries over from its input."""

from __future__ import annotations

import pyvips

_KEPT = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data", "photoshop-data", "resolution-unit", "delay", "loop")
_KEPT_PREFIXES = ("exif-ifd0", "exif-ifd2", "exif-ifd3", "exif-ifd4", "png-comment")
"""All of EXIF but ifd1, the thumbnail."""
_CHANGED = ("-Orientation", "-PixelXDimension", "-PixelYDimension")
"""EXIF fields that would be wrong for the output: its rotation and the size of the input."""


def copy_metadata(origin: pyvips.Image, target: pyvips.Image) -> None:
    """Copy metadata onto `target`, whose image must not be shared; its orientation becomes upright."""
    try:
        names = origin.get_fields()
    except UnicodeDecodeError:  # the name of a comment in Latin-1: comments are left out
        names = [name for name in _KEPT if origin.get_typeof(name)]
    for name in names:
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and not name.endswith(_CHANGED):
            target.set_type(origin.get_typeof(name), name, origin.get(name))
    target.set_type(pyvips.GValue.gint_type, "orientation", 1)  # or the one in exif-data comes back
