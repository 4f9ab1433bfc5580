"""Folders of images: where a data folder is found, and the image files in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}


def find_data(path: str | Path) -> Path:
    """Find a data folder: as given, below $MAMBAIRV2_SHARED, or below ../shared.

    Raises FileNotFoundError naming every place looked at.
    """
    roots = [
        Path(),
        *([Path(shared)] if (shared := os.environ.get("MAMBAIRV2_SHARED")) else []),
        Path("../shared"),
    ]
    places = [root / path for root in roots]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {path}; looked at {', '.join(str(p.absolute()) for p in places)}")


def list_images(folders: Iterable[Path]) -> list[Path]:
    """Return the image files below folders, by suffix, sorted within each folder.

    Raises FileNotFoundError for a folder that is not there or has none.
    """
    files: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}")
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise FileNotFoundError(f"no images in {folder}")
        files += found
    return files
