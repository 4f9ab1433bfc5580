"""Restore a large image tile by tile: overlap and blend, as a pure function over a callable.

Tiles start at multiples of the attention window, so that windows lie as they do in the whole image.
Neighbours overlap, and across the overlap their weights are ramps that add up to one; the pixels next to a cut,
where a network knows only one side, do not count. Finished rows are given
out from top to bottom, so that memory holds one row of tiles however tall the image is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Read = Callable[[slice, slice], Tensor]
"""Rows and columns of the input to (C, h, w)."""
Run = Callable[[Tensor], Tensor]
"""(C, h, w) to (C', h·scale, w·scale)."""
Progress = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""

MARGIN = 4
"""Input pixels beside a cut that are left to the neighbour, where the overlap allows it."""


@dataclass(frozen=True)
class Grid:
    """Where tiles lie. Raises ValueError for values that make no grid."""

    size: tuple[int, int]
    """Height and width of the input."""
    scale: int
    tile: int | None
    """Largest side of a tile in input pixels, a multiple of `window`; None takes the image whole."""
    overlap: int = 16
    """Input pixels that neighbours share at least, a multiple of `window`."""
    window: int = 16

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.size) < 1:
            raise ValueError(f"an image has at least 1x1 pixels, got {self.size[1]}x{self.size[0]}")
        if self.overlap < 0 or self.overlap % self.window:
            raise ValueError(f"overlap must be a multiple of {self.window}, got {self.overlap}")
        if self.tile is not None and (self.tile % self.window or self.tile <= self.overlap):
            rule = f"a multiple of {self.window} above the overlap of {self.overlap}"
            raise ValueError(f"tile must be {rule}, got {self.tile}")

    @property
    def rows(self) -> list[slice]:
        """Row ranges of the tiles, from top to bottom."""
        return spans(self.size[0], self.tile, self.overlap, self.window)

    @property
    def columns(self) -> list[slice]:
        """Column ranges of the tiles, from left to right."""
        return spans(self.size[1], self.tile, self.overlap, self.window)

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest tile: the first."""
        row, column = self.rows[0], self.columns[0]
        return row.stop, column.stop


def spans(size: int, tile: int | None, overlap: int, window: int) -> list[slice]:
    """Cut `size` pixels into the fewest ranges of at most `tile`, neighbours sharing at least `overlap`.

    Every range starts at a multiple of `window`; all are as short and as even as that allows.
    """
    if tile is None or size <= tile:
        return [slice(0, size)]
    units, tile, overlap = -(-size // window), tile // window, overlap // window
    count = -(-(units - overlap) // (tile - overlap))
    length = -(-(units + (count - 1) * overlap) // count)
    starts = [k * (units - length) // (count - 1) for k in range(count)]
    return [slice(start * window, min((start + length) * window, size)) for start in starts]


def ramps(ranges: list[slice], scale: int) -> list[Tensor]:
    """Blending weights along one axis, (length · scale,) float32 a range; at every pixel they sum to one."""
    size = ranges[-1].stop * scale
    total, raw = torch.zeros(size, dtype=torch.float64), []
    for k, span in enumerate(ranges):
        start, stop = span.start * scale, span.stop * scale
        weight = torch.ones(stop - start, dtype=torch.float64)
        if k > 0:
            shared = ranges[k - 1].stop * scale - start
            weight[:shared] *= _rise(shared, MARGIN * scale)
        if k + 1 < len(ranges):
            shared = stop - ranges[k + 1].start * scale
            weight[len(weight) - shared :] *= _rise(shared, MARGIN * scale).flip(0)
        total[start:stop] += weight
        raw.append(weight)
    shares = [weight / total[s.start * scale : s.stop * scale] for s, weight in zip(ranges, raw, strict=True)]
    return [share.float() for share in shares]


def _rise(length: int, margin: int) -> Tensor:
    """A ramp from 0 to 1, (length,) float64, flat within the margin at both ends; with its mirror image it makes 1."""
    margin = min(margin, max(length - 1, 0) // 2)
    steps = torch.arange(length, dtype=torch.float64) + 0.5 - margin
    return (steps / max(length - 2 * margin, 1)).clamp(0, 1)


def restore_rows(run: Run, read: Read, grid: Grid, progress: Progress | None = None) -> Iterator[Tensor]:
    """Run a network over an image in tiles and yield the output's rows as they are finished, from top to
    bottom.

    Yields (C', n, w·scale) on the CPU, of the dtype `run` gives; their n add up to h·scale. What `run`,
    `read` or `progress` raises goes through, so raising in `progress` cancels.
    """
    scale, rows, columns = grid.scale, grid.rows, grid.columns
    down, across = ramps(rows, scale), ramps(columns, scale)
    kept: Tensor | None = None
    for i, row in enumerate(rows):
        band: Tensor | None = None
        for j, column in enumerate(columns):
            tile = run(read(row, column)).cpu()
            if len(rows) == len(columns) == 1:
                band = tile
            else:
                if band is None:
                    band = tile.new_zeros(tile.shape[0], tile.shape[1], grid.size[1] * scale)
                weight = down[i][:, None] * across[j]
                band[:, :, column.start * scale : column.stop * scale] += tile * weight.to(tile.dtype)
            if progress is not None:
                progress(i * len(columns) + j + 1, len(rows) * len(columns))
        assert band is not None
        if kept is not None:
            band[:, : kept.shape[1]] += kept
        following = rows[i + 1].start if i + 1 < len(rows) else row.stop
        finished = (following - row.start) * scale
        yield band[:, :finished]
        kept = band[:, finished:].clone()
