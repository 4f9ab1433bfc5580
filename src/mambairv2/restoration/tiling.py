"""Restore a large image tile by tile: overlap and blend, as a pure function over a callable.

Across the overlap of two tiles their weights are ramps that add up to one. The pixels next to a cut, where a network
knows only one side, do not count. Finished rows are given out from top to bottom, so that memory holds one row of
tiles however tall the image is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mambairv2.restoration.grid import Grid
from mambairv2.restoration.margin import Read, crop, read_mirrored

Run = Callable[[Tensor], Tensor]
"""(…, C, h, w) to (…, C', h·scale, w·scale), on the same device."""
Progress = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""

CUT = 4
"""Input pixels beside a cut that the neighbour decides, where the overlap allows it."""


def ramps(ranges: list[slice], scale: int) -> list[Tensor]:
    """Return the blending weights along one axis, (length · scale,) float32 a range; at every pixel they sum to one."""
    size = ranges[-1].stop * scale
    total, raw = torch.zeros(size, dtype=torch.float64), []
    for k, span in enumerate(ranges):
        start, stop = span.start * scale, span.stop * scale
        weight = torch.ones(stop - start, dtype=torch.float64)
        if k > 0:
            shared = ranges[k - 1].stop * scale - start
            weight[:shared] *= _rise(shared, CUT * scale)
        if k + 1 < len(ranges):
            shared = stop - ranges[k + 1].start * scale
            weight[len(weight) - shared :] *= _rise(shared, CUT * scale).flip(0)
        total[start:stop] += weight
        raw.append(weight)
    shares = [weight / total[s.start * scale : s.stop * scale] for s, weight in zip(ranges, raw, strict=True)]
    return [share.float() for share in shares]


def _rise(length: int, ends: int) -> Tensor:
    """Return a ramp from 0 to 1, (length,) float64, flat over `ends` pixels at both ends; its mirror adds up to 1."""
    ends = min(ends, max(length - 1, 0) // 2)
    steps = torch.arange(length, dtype=torch.float64) + 0.5 - ends
    return (steps / max(length - 2 * ends, 1)).clamp(0, 1)


def restore_rows(run: Run, read: Read, grid: Grid, progress: Progress | None = None) -> Iterator[Tensor]:
    """Run a network over an image in tiles; yield rows of the output as they are finished, from top to bottom.

    Yields (…, C', n, w·scale), of the dtype and on the device of `run`; the n add up to h·scale. Errors of `run`,
    `read` and `progress` are passed on, so an error raised in `progress` cancels. With the margin of the grid, `run`
    gets tiles that are larger at the edges of the image; nothing of it is yielded.
    """
    scale, rows, columns = grid.scale, grid.rows, grid.columns
    seen_rows, seen_columns = grid.seen_rows, grid.seen_columns
    down, across = ramps(rows, scale), ramps(columns, scale)
    kept: Tensor | None = None
    for i, row in enumerate(rows):
        band: Tensor | None = None
        for j, column in enumerate(columns):
            seen = seen_rows[i], seen_columns[j]
            tile = crop(run(read_mirrored(read, grid.size, *seen)), seen, (row, column), scale)
            if len(rows) == len(columns) == 1:
                band = tile
            else:
                if band is None:
                    band = tile.new_zeros(*tile.shape[:-1], grid.size[1] * scale)
                weight = down[i][:, None] * across[j]
                band[..., column.start * scale : column.stop * scale] += tile * weight.to(tile)
            if progress is not None:
                progress(i * len(columns) + j + 1, len(rows) * len(columns))
        assert band is not None
        if kept is not None:
            band[..., : kept.shape[-2], :] += kept
        following = rows[i + 1].start if i + 1 < len(rows) else row.stop
        finished = (following - row.start) * scale
        yield band[..., :finished, :]
        kept = band[..., finished:, :].clone()
