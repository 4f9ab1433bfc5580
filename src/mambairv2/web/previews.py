"""Small pictures of a photograph and its restoration, of one size, to be compared on the page."""

from __future__ import annotations

from pathlib import Path

import pyvips

SIDE = 2000
"""Longest side of a preview in pixels."""


def previews(source: Path, target: Path, folder: Path) -> tuple[str, str] | None:
    """Write both as pictures of the restoration's size, or smaller; return their paths, None where that fails."""
    try:
        after = _upright(target, SIDE, SIDE, pyvips.enums.Size.DOWN)
        before = _upright(source, after.width, after.height, pyvips.enums.Size.FORCE)
        paths = folder / "before.png", folder / "after.png"
        for image, path in zip((before, after), paths, strict=True):
            image.pngsave(str(path), compression=1, strip=True)
    except pyvips.Error:  # the restoration is there all the same
        return None
    return str(paths[0]), str(paths[1])


def _upright(path: Path, width: int, height: int, size: str) -> pyvips.Image:
    """Read an image, turned as it is meant, in sRGB of 8 bits and without transparency."""
    image = pyvips.Image.thumbnail(str(path), width, height=height, size=size, output_profile="srgb")
    image = image.flatten(background=255) if image.hasalpha() else image
    return image.colourspace("srgb").cast("uchar")
