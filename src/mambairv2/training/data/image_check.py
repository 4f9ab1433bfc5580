"""Checks of a folder of training images: which are broken, too small, there twice, or in a test set as well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambairv2.files.names import shown
from mambairv2.images.arrays import Pixels
from mambairv2.images.folders import list_images
from mambairv2.images.pixels import read_image, to_channels

Kind = Literal["broken", "too small", "duplicate", "leaked"]
Thumbnail = npt.NDArray[np.float32]

SIDE = 32
"""Of a thumbnail, in pixels."""
NEAR = 3.0
"""Root mean square difference, in levels of 255, below which two thumbnails show one picture."""
NEAR_SHARE = 0.1
"""The difference must also be below this share of the thumbnail's contrast, so that two clear skies stay two."""
_BLOCK = 256  # images compared at once


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file, with the other file if it is about two."""

    kind: Kind
    file: Path
    reason: str


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image: the digest of its pixels and its thumbnail."""

    file: Path
    digest: bytes
    thumbnail: Thumbnail


def check_images(
    folder: Path,
    against: Path | None = None,
    patch: int = 64,
    scale: int = 2,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[Fault]]:
    """Find images that training should not be given.

    Two images count as one if their pixels are equal, or if their grey 32×32 thumbnails differ by less than 3 levels in
    one of the eight flips and rotations: copies that were encoded again, resized, rotated or flipped. Parts of an image
    are not found. An image is too small if it does not hold a patch of `patch` × `scale` pixels.

    against: a folder of test images, none of which may be in `folder`. tick: called with the images done and their
    number. Returns the number of images in folder, and the faults in the order of files. Raises FileNotFoundError for
    a folder without images.
    """
    files = list_images([folder])
    others = list_images([against]) if against is not None else []
    faults: list[Fault] = []
    own: list[_Seen] = []
    foreign: list[_Seen] = []
    for number, file in enumerate((*files, *others)):
        tick(number, len(files) + len(others))
        seen = own if number < len(files) else foreign
        try:
            pixels = read_image(file)
        except ValueError as error:
            faults.append(Fault("broken", file, str(error).removeprefix(f"{file}: ")))
            continue
        height, width = pixels.shape[:2]
        if seen is own and min(height, width) // scale < patch:
            faults.append(Fault("too small", file, f"{width}x{height}, a patch takes {patch * scale}x{patch * scale}"))
        seen.append(_Seen(file, _digest(pixels), thumbnail(pixels)))
    faults += _pairs("duplicate", own, own)
    faults += _pairs("leaked", own, foreign)
    order = {file: number for number, file in enumerate((*files, *others))}
    return len(files), sorted(faults, key=lambda fault: order[fault.file])


def thumbnail(pixels: Pixels) -> Thumbnail:
    """Average an (H, W, C) uint8 image of any size to grey (32, 32), float32, levels of 255."""
    grey = to_channels(pixels, 1)[..., 0]
    down, across = _averaging(grey.shape[0]), _averaging(grey.shape[1])
    small: Thumbnail = down @ grey.astype(np.float32) @ across.T
    return small


def _averaging(length: int) -> Thumbnail:
    """Weights (32, length) of pixels in each of 32 equal intervals; the mirrored row is the row mirrored."""
    edges = np.linspace(0, length, SIDE + 1)
    starts = np.arange(length)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: Thumbnail = (overlap.clip(0) * (SIDE / length)).astype(np.float32)
    return weights


def _digest(pixels: Pixels) -> bytes:
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).digest()


def _pairs(kind: Kind, images: Sequence[_Seen], others: Sequence[_Seen]) -> list[Fault]:
    """Name, for each image, the other it is most like; within one list, only those before it."""
    if not others:
        return []
    within = images is others
    exact: dict[bytes, Path] = {}
    if not within:
        exact = {seen.digest: seen.file for seen in reversed(others)}
    nearest, distance = _nearest([seen.thumbnail for seen in images], [s.thumbnail for s in others], within)
    faults = []
    for number, seen in enumerate(images):
        limit = min(NEAR, NEAR_SHARE * float(seen.thumbnail.std()))
        if seen.digest in exact:
            faults.append(Fault(kind, seen.file, f"same pixels as {exact[seen.digest]}"))
        elif distance[number] < limit:
            like = others[nearest[number]].file
            faults.append(Fault(kind, seen.file, f"like {like}, {distance[number]:.1f} levels apart"))
        if within:
            exact.setdefault(seen.digest, seen.file)
    return faults


def _nearest(
    images: Sequence[Thumbnail], others: Sequence[Thumbnail], within: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Find the closest thumbnail over the eight flips and rotations: its number, and the root mean square difference.

    within: images and others are the same list; only earlier ones count.
    """
    known = np.stack(others).reshape(len(others), -1) - 128
    squares = (known * known).sum(1)
    nearest = np.zeros(len(images), np.intp)
    distance = np.full(len(images), np.inf)
    for first in range(0, len(images), _BLOCK):
        block = np.stack(images[first : first + _BLOCK]) - 128
        rows = np.arange(len(block))
        mean = np.full((len(block), len(others)), np.inf, np.float32)
        for turn in range(8):
            turned = np.rot90(block if turn < 4 else block[:, :, ::-1], turn % 4, (1, 2)).reshape(len(block), -1)
            apart = (turned * turned).sum(1)[:, None] + squares - 2 * turned @ known.T
            mean = np.minimum(mean, apart / SIDE**2)
        if within:
            mean[np.arange(len(others)) >= first + rows[:, None]] = np.inf
        nearest[first + rows] = mean.argmin(1)
        distance[first + rows] = np.sqrt(mean.min(1).clip(0))
    return nearest, distance


def table(faults: Sequence[Fault]) -> str:
    """Return a line a fault, in columns."""
    rows = [("fault", "file", "reason"), *((f.kind, shown(str(f.file)), shown(f.reason)) for f in faults)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{kind:{widths[0]}}  {file:{widths[1]}}  {reason}" for kind, file, reason in rows)
