"""Folders of images for training and measuring: where a folder is looked for, and the image files in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mambairv2.files.walk import walk
from mambairv2.images.formats import READABLE

DATA = "MAMBAIRV2_DATA"
"""The environment variable that names a folder below which data is looked for too."""
SUFFIXES = frozenset(READABLE)
"""Suffixes of images."""


def data_roots() -> list[Path]:
    """Return where relative paths are looked for: the working directory, then the folder that $MAMBAIRV2_DATA names."""
    root = os.environ.get(DATA)
    return [Path(), *([Path(root)] if root else [])]


def find_data(path: str | Path) -> Path:
    """Find a data folder: from the working directory, then below the folder that $MAMBAIRV2_DATA names.

    Raises FileNotFoundError naming every place that was looked at.
    """
    places = [root / path for root in data_roots()]
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(str(place.absolute()) for place in places)
    raise FileNotFoundError(f"no folder {path} (looked at {looked}{'' if len(places) > 1 else f'; {DATA} is not set'})")


def is_image(path: Path) -> bool:
    """Tell whether a path is a file with the suffix of an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def images_below(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, by suffix, sorted; see `files.walk` for links.

    Raises OSError for a folder that cannot be read.
    """
    found = walk(str(folder))
    for error in found.errors:
        raise error
    return sorted(path for name in found.files if is_image(path := folder / name))


def list_images(folders: Iterable[Path]) -> list[Path]:
    """Return the image files below folders, by suffix, sorted within each folder.

    Raises FileNotFoundError for a folder that is not there or has none.
    """
    files: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}")
        found = images_below(folder)
        if not found:
            raise FileNotFoundError(f"no images in {folder}")
        files += found
    return files


def list_pairs(folders: Sequence[Path], inputs: Sequence[Path], scale: int) -> list[tuple[Path, Path]]:
    """Return target and input of every image below folders; inputs has one folder for each of them.

    The input of a target has the same path in its folder, with any suffix, and x2, x3 or x4 after the stem or not.
    Raises FileNotFoundError for folders without images, and for targets without an input.
    """
    pairs, alone = [], []
    for folder, other in zip(folders, inputs, strict=True):
        if not other.is_dir():
            raise FileNotFoundError(f"no folder {other}")
        for path in list_images([folder]):
            found = _partner(path, other / path.relative_to(folder).parent, scale)
            if found is None:
                alone.append(f"no input image for {path} in {other / path.relative_to(folder).parent}")
            else:
                pairs.append((path, found))
    if alone:
        more = f", nor for {len(alone) - 1} others" if len(alone) > 1 else ""
        raise FileNotFoundError(f"{alone[0]}{more}; an input is named as its target, or with x{scale} after the stem")
    return pairs


def _partner(path: Path, folder: Path, scale: int) -> Path | None:
    for stem in (path.stem, f"{path.stem}x{scale}"):
        for suffix in (path.suffix, *sorted(SUFFIXES)):
            if (candidate := folder / (stem + suffix)).is_file():
                return candidate
    return None
