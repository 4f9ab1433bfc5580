"""A cache of decoded images: folders are read once, and training cuts patches from memory-mapped pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambairv2.files.atomic import scratch
from mambairv2.images.arrays import Pixels
from mambairv2.images.folders import list_images, list_pairs
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize

CELL = 32
"""Side, in target pixels, of the squares whose detail is measured."""
_FORMAT = 3  # part of the cache's key; raise it when pixels or files of the cache change their meaning


def detail(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return the mean absolute gradient of each CELL×CELL square, in levels of 255 a pixel.

    pixels: (H, W, C) uint8. Returns (ceil(H / CELL), ceil(W / CELL)) float32; squares at the border may be smaller.
    """
    grey = pixels.mean(axis=2, dtype=np.float32)
    slope = np.zeros_like(grey)
    slope[:, 1:] += np.abs(np.diff(grey, axis=1))
    slope[1:] += np.abs(np.diff(grey, axis=0))
    starts = [np.arange(0, side, CELL) for side in grey.shape]
    totals = np.add.reduceat(np.add.reduceat(slope, starts[0], axis=0), starts[1], axis=1)
    sizes = [np.diff(np.append(start, side)) for start, side in zip(starts, grey.shape, strict=True)]
    cells: npt.NDArray[np.float32] = (totals / np.outer(sizes[0], sizes[1])).astype(np.float32)
    return cells


@dataclass(frozen=True)
class Entry:
    """One image in the cache."""

    file: str
    """Where it was read from."""
    height: int
    """Of the input, as the width; the target is `scale` times as large."""
    width: int
    target: int
    """Where its pixels begin in the file of targets, in bytes."""
    input: int
    """Where its pixels begin in the file of inputs, in bytes."""
    detail: int
    """Where its detail begins, in values."""
    cells: tuple[int, int]
    """Rows and columns of its detail."""


@dataclass(frozen=True)
class Cache:
    """Decoded images in one folder: target.bin and input.bin (uint8, channels last), detail.bin (float32), index.json.

    The files have no headers; index.json has an `Entry` for each image.
    """

    folder: Path
    scale: int
    channels: int
    entries: tuple[Entry, ...]
    skipped: tuple[str, ...]
    """One line for each file that could not be read."""

    def pixels(self, name: str) -> Pixels:
        """Memory-map "target" or "input", flat. Where the inputs are the targets, both are the same file."""
        own = (self.folder / f"{name}.bin").stat().st_size > 0
        return np.memmap(self.folder / (f"{name}.bin" if own else "target.bin"), np.uint8, "r")

    def detail(self) -> npt.NDArray[np.float32]:
        """Return the detail of every cell of every image, flat."""
        return np.fromfile(self.folder / "detail.bin", np.float32)


def _load_pair(target: Path, source: Path | None, scale: int, channels: int) -> tuple[Pixels, Pixels | None]:
    """Decode one image and make or read its input; the input is None where it is the target itself."""
    pixels = read_image(target, channels)
    height, width = (side // scale for side in pixels.shape[:2])
    if min(height, width) < 1:
        raise ValueError(f"{target}: {pixels.shape[1]}x{pixels.shape[0]} is smaller than one input pixel")
    pixels = pixels[: height * scale, : width * scale]
    if source is not None:
        read = read_image(source, channels)
        if read.shape[:2] != (height, width):
            sizes = f"{read.shape[1]}x{read.shape[0]}, expected {width}x{height}"
            raise ValueError(f"{source}: {sizes}, the size of {target}{f' divided by {scale}' * (scale > 1)}")
        return pixels, read
    return pixels, None if scale == 1 else imresize(pixels, 1 / scale)


def _build(
    folder: Path,
    pairs: list[tuple[Path, Path | None]],
    scale: int,
    channels: int,
    tick: Callable[[int, int], None],
) -> None:
    entries: list[dict[str, object]] = []
    skipped: list[str] = []
    with (
        (folder / "target.bin").open("wb") as t,
        (folder / "input.bin").open("wb") as i,
        (folder / "detail.bin").open("wb") as d,
    ):
        for number, (target, source) in enumerate(pairs):
            tick(number, len(pairs))
            try:
                pixels, damaged = _load_pair(target, source, scale, channels)
            except ValueError as error:
                skipped.append(str(error))
                continue
            cells = detail(pixels)
            height, width = (side // scale for side in pixels.shape[:2])
            place = {
                "target": t.tell(),
                "input": i.tell() if damaged is not None else t.tell(),
                "detail": d.tell() // 4,
            }
            entries.append({"file": str(target), "height": height, "width": width, **place, "cells": cells.shape})
            t.write(np.ascontiguousarray(pixels).data)
            d.write(cells.data)
            if damaged is not None:
                i.write(np.ascontiguousarray(damaged).data)
    if not entries:
        raise ValueError(f"none of the {len(skipped)} images can be used, the first since {skipped[0]}")
    (folder / "index.json").write_text(json.dumps({"entries": entries, "skipped": skipped}))


def open_cache(
    folders: Sequence[Path],
    scale: int,
    channels: int,
    input_folders: Sequence[Path] = (),
    cache_dir: Path = Path("runs/cache"),
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Cache:
    """Decode folders of images into a memory-mapped cache, or open the one that was made before.

    The cache is found by the paths, sizes and modification times of the files, so a folder that changed makes a new
    one. With a scale above 1 the inputs are MATLAB's bicubic of the whole targets, or the files of input_folders, one
    folder for each of `folders`. Files that cannot be read are left out and listed in `skipped`. The cache appears
    whole or not at all. tick: called with the images done and their number.

    Raises FileNotFoundError for folders without images or targets without an input, ValueError if no image can be
    used, OSError if the cache cannot be written.
    """
    pairs: list[tuple[Path, Path | None]]
    if input_folders:
        pairs = [*list_pairs(folders, input_folders, scale)]
    else:
        pairs = [(path, None) for folder in folders for path in list_images([folder])]
    facts = [(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for pair in pairs for p in pair if p]
    key = hashlib.sha256(json.dumps([_FORMAT, scale, channels, facts]).encode()).hexdigest()[:16]
    place = cache_dir / key
    if not place.is_dir():
        cache_dir.mkdir(parents=True, exist_ok=True)
        try:
            with scratch(cache_dir) as unfinished:
                _build(unfinished, pairs, scale, channels, tick)
                unfinished.rename(place)
        except OSError as error:
            if not place.is_dir():  # another process was not faster: a real failure, such as a full disk
                reason = f"the decoded images could not be written into {cache_dir}: {error.strerror}"
                raise OSError(f"{reason}; free some space, or keep them on another disk") from None
    index = json.loads((place / "index.json").read_text())
    entries = tuple(Entry(**{**entry, "cells": tuple(entry["cells"])}) for entry in index["entries"])
    return Cache(place, scale, channels, entries, tuple(index["skipped"]))
