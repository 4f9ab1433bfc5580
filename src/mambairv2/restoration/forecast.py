"""What the restoration of a file will take: memory and time, told before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mambairv2.images.canvas import IN_MEMORY
from mambairv2.images.picture import Picture
from mambairv2.images.reading import DECODED
from mambairv2.restoration.grid import Grid
from mambairv2.restoration.memory import free_memory, used_memory
from mambairv2.restoration.planning import TILE, Planner
from mambairv2.restoration.results import Estimate

MEASURED = 2**19
"""Pixels from which an image takes so long that the speed of the network is measured for an estimate."""


class Forecaster:
    """Estimates what the restoration of a file will take, from the speed of the network on a small tile."""

    def __init__(self, planner: Planner, run: Callable[[Tensor], Tensor]) -> None:
        """run: the network on one tile, (3, h, w) to (3, h·scale, w·scale)."""
        self._planner, self._run = planner, run
        self._pace: float | None = None

    def estimate(self, pages: Sequence[Picture], grid: Grid) -> Estimate:
        """Return what the pages of a file take in these tiles; the network is measured once, for a large file."""
        first, tiles = pages[0], len(pages) * len(grid.rows) * len(grid.columns)
        pixels = len(pages) * first.size[0] * first.size[1]
        if self._pace is None and pixels >= MEASURED:
            self._pace = self._measure_pace()
        # Pixels that neighbours share are restored twice, and the margin is restored too.
        work = sum(r.stop - r.start for r in grid.seen_rows) * sum(c.stop - c.start for c in grid.seen_columns)
        seconds = None if self._pace is None else len(pages) * work * self._pace
        memory, free = self._planner.working_memory(grid), free_memory(self._planner.device)
        if self._planner.device.type == "cpu":
            held = used_memory()
            samples = pixels * (first.channels + (first.alpha is not None)) * first.depth.itemsize
            memory += held + min(samples, DECODED) + min(samples * grid.scale**2, IN_MEMORY)
            free = None if free is None else free + held
        return Estimate(first.size, len(pages), tiles, grid.largest, memory, free, seconds)

    def _measure_pace(self) -> float:
        """Return the seconds for each pixel of a tile, measured on a small one."""
        side = 64 if self._planner.device.type == "cpu" else TILE
        image = torch.linspace(0, 1, 3 * side * side).view(3, side, side)
        self._run(image[:, :16, :16])  # the first run also pays for what is only done once
        start = time.perf_counter()
        self._run(image)
        return (time.perf_counter() - start) / side**2
