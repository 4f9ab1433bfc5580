"""What becomes of each kind of metadata in each format that is written. This module is data, and docs/metadata.md shows
it."""

from __future__ import annotations

KINDS = ("profile", "exif", "xmp", "iptc", "text", "color", "density")
"""The kinds, by the fields of `Metadata`; the colour profile goes through libvips."""
HELD = {
    ".png": frozenset(("profile", "exif", "xmp", "text", "color", "density")),
    ".jpg": frozenset(("profile", "exif", "xmp", "iptc", "text", "density")),
    ".webp": frozenset(("profile", "exif", "xmp")),
    ".tif": frozenset(("profile", "exif", "xmp", "iptc", "density")),
}
"""What a file of each format holds. In a TIFF the fields of EXIF are tags of the page."""
SAME = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
"""Suffixes of the same format."""
STRIPPED = frozenset(("profile", "color", "density"))
"""What stays when metadata are stripped: what the colours and the size in print depend on."""
TAGS = {
    "Title": 269,
    "Description": 270,
    "Comment": 270,
    "Software": 305,
    "Author": 315,
    "Copyright": 33432,
}
"""Tags for the texts of a PNG, or the comment of a JPEG, in a format that has no texts."""
WORDS = {"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC", "text": "texts", "color": "colours by", "density": "resolution"}
"""What the user reads of a kind that is left out."""


def held(suffix: str) -> frozenset[str]:
    """Return the kinds that a file with this suffix, in lower case, holds."""
    return HELD[SAME.get(suffix, suffix)]
