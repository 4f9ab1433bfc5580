"""Which tiles an image is cut into, by the memory that is free."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.footprint import bytes_per_pixel
from mambairv2.restoration.grid import Grid
from mambairv2.restoration.memory import free_memory, out_of_memory, return_freed_memory

Tile = int | Literal["auto", "whole"]
"""Largest side of a tile in input pixels, a multiple of 16; `auto` is `TILE`, less if memory is short; `whole` never
tiles. The margin at the edges of the picture comes on top."""
Result = TypeVar("Result")
TILE = 256
"""Largest side of a tile unless memory is short. It is fixed, so that every machine gives the same image."""
SMALLEST_TILE = 64
OVERLAP = 16
"""Input pixels that neighbouring tiles share. Chosen by `benchmarks/seams.py`, see docs/tiling.md."""
SHARE = 0.7
"""Share of the free memory that a plan may fill."""


class Planner:
    """Plans the tiles for a network on a device. Raises ValueError for a tile or an overlap out of range."""

    def __init__(self, model: MambaIRv2, device: torch.device, tile: Tile, overlap: int, margin: bool) -> None:
        if tile not in ("auto", "whole") and not isinstance(tile, int):
            raise ValueError(f"tile must be auto, whole or a number of pixels, got {tile!r}")
        self.model, self.device, self.tile, self.overlap, self.margin = model, device, tile, overlap, margin
        self.images = 1
        """How many images are restored at once, each by a thread, from the same free memory."""
        self._grid((1, 1), tile if isinstance(tile, int) else None)  # a value out of range shows now

    def plan(self, size: tuple[int, int]) -> Grid:
        """Return the tiles for an image of height and width `size`, from the free memory if `tile` is `auto`."""
        if self.tile != "auto":
            return self._grid(size, None if self.tile == "whole" else self.tile)
        free = free_memory(self.device)
        return self._fitting(size, TILE, None if free is None else free * SHARE / self.images)

    def attempt(self, size: tuple[int, int], attempt: Callable[[Grid], Result]) -> tuple[Grid, Result]:
        """Try with the planned tiles; if `tile` is `auto`, with smaller ones while memory runs out.

        Returns the tiles that it worked with, and the result. Raises MemoryError when no tile is small enough.
        """
        grid = self.plan(size)
        while True:
            try:
                return grid, attempt(grid)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            largest = min(grid.tile or max(size), max(size))
            grid = self._fitting(size, largest // 2)
            if self.tile != "auto" or (grid.tile or largest) >= largest:
                raise MemoryError(f"not enough memory on {self.device} for tiles of {largest}; try a smaller tile")
            return_freed_memory(self.device)

    def attempt_batch(self, size: tuple[int, int], images: int, attempt: Callable[[Grid, int], Result]) -> Result:
        """Try with the planned tiles, of as many images at once as memory allows, then as `attempt` with one.

        attempt: is given the tiles and the number of images at once.
        """
        grid = self.plan(size)
        count = min(images, self._at_once(grid))
        while count > 1:
            try:
                return attempt(grid, count)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            return_freed_memory(self.device)
            count //= 2
        return self.attempt(size, lambda grid: attempt(grid, 1))[1]

    def working_memory(self, grid: Grid) -> int:
        """Return the bytes for the network on a tile and, on a CPU, for the rows of the output that it belongs to."""
        height, width = grid.largest_seen
        scale = self.model.config.upscale
        network = int(height * width * bytes_per_pixel(self.model))
        rows = 3 * height * grid.size[1] * scale**2 * 3 * 4  # blended, scaled and rounded; float32
        return network + (rows if self.device.type == "cpu" else 0)

    def _at_once(self, grid: Grid) -> int:
        """Return how many images fit into memory at once, at least 1."""
        free = free_memory(self.device)
        if free is None:
            return max(1, TILE**2 // math.prod(grid.largest_seen))
        return max(1, int(free * SHARE / self.images / self.working_memory(grid)))

    def _fitting(self, size: tuple[int, int], largest: int, room: float | None = None) -> Grid:
        """Return the grid of the largest tiles that take at most `room` bytes, or of the smallest."""
        window = self.model.config.window_size
        smallest = max(SMALLEST_TILE, self.overlap + window)
        for tile in range(largest // window * window, smallest, -window):
            grid = self._grid(size, tile)
            if room is None or self.working_memory(grid) <= room:
                return grid
        return self._grid(size, smallest)

    def _grid(self, size: tuple[int, int], tile: int | None) -> Grid:
        config = self.model.config
        return Grid(size, config.upscale, tile, self.overlap, config.window_size, self.margin)
