"""The margin: what the network sees beyond the edges of a picture, which is the picture mirrored.

Convolutions pad with zeros, which stand for the mean colour of photographs. Without a margin that colour bleeds in: a
flat red picture comes out tens of levels wrong along its border. In the margin it stays outside, and it is cropped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Read = Callable[[slice, slice], Tensor]
"""Rows and columns of the input to (…, C, h, w)."""


def read_mirrored(read: Read, size: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """Read a rectangle that may reach beyond an image of height and width `size`.

    rows, columns: they may begin below 0 and end above `size`, but overlap the image. Beyond an edge the image is
    mirrored with the edge pixel repeated, again and again where it is smaller than that. Returns (…, C, h, w); only
    what is needed is read.
    """
    down, across = mirror(rows, size[0]), mirror(columns, size[1])
    top, left = int(down.min()), int(across.min())
    image = read(slice(top, int(down.max()) + 1), slice(left, int(across.max()) + 1))
    for axis, positions, span, length in ((-2, down - top, rows, size[0]), (-1, across - left, columns, size[1])):
        if span.start < 0 or span.stop > length:
            image = image.index_select(axis, positions.to(image.device))
    return image


def mirror(span: slice, length: int) -> Tensor:
    """Return the positions in an axis of `length` pixels that stand for a range that may reach beyond it, int64."""
    place = torch.arange(span.start, span.stop) % (2 * length)
    return torch.where(place < length, place, 2 * length - 1 - place)


def crop(tile: Tensor, seen: tuple[slice, slice], kept: tuple[slice, slice], scale: int) -> Tensor:
    """Cut the margin off a restored tile, a view: of the rows and columns that the network saw to those of the tile."""
    (top, left), (height, width) = (
        [(inner.start - outer.start) * scale for outer, inner in zip(seen, kept, strict=True)],
        [(inner.stop - inner.start) * scale for inner in kept],
    )
    return tile[..., top : top + height, left : left + width]
