"""Tensors in, tensors out, on the device that they are on; a batch runs at once as far as memory allows.

Letters: B images, C channels, h and w height and width of the input, s the scale.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mambairv2.restoration.grid import Grid
from mambairv2.restoration.planning import Planner
from mambairv2.restoration.tiling import Progress, Run, restore_rows

_WHITE = {torch.uint8: 255, torch.uint16: 65535}


class Values:
    """Values as they are: neither clipped nor rounded. (B, C, h, w)."""

    def __init__(self, batch: Tensor) -> None:
        self.batch = batch

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Return what the network sees of a rectangle."""
        # In memory as `Picture.region`, for equal rounding.
        return self.batch[..., rows, columns].contiguous(memory_format=torch.channels_last)

    def finish(self, restored: Tensor) -> Tensor:
        """Return what is kept of restored rows."""
        return restored


class Samples(Values):
    """Samples of colour: integers from 0 to white, or floats in [0, 1]. Pictures without colour stay without."""

    def __init__(self, batch: Tensor) -> None:
        super().__init__(batch)
        self.white = torch.tensor(_WHITE.get(batch.dtype, 1), dtype=torch.float32, device=batch.device)
        self.grey = (batch == batch[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Return values in [0, 1], float32."""
        return super().read(rows, columns).float() / self.white

    def finish(self, restored: Tensor) -> Tensor:
        """Clip values and turn them into samples, integers rounded to nearest."""
        values = torch.where(self.grey, restored.mean(1, keepdim=True), restored).clamp(0, 1)
        floats = self.batch.is_floating_point()
        return (values if floats else (values * self.white).round()).to(self.batch.dtype)


def restore_tensor(
    image: Tensor, planner: Planner, run: Run, restore_one: Callable[[Tensor], Tensor], progress: Progress | None
) -> Tensor:
    """Restore the samples of (C, h, w) or (B, C, h, w); the result has the dtype, the layout and the device.

    restore_one: restores (C, h, w) that has alpha, C 2 or 4. Raises ValueError for other shapes and dtypes, and for
    floats outside [0, 1].
    """
    if image.ndim not in (3, 4) or not 1 <= image.shape[-3] <= 4:
        raise ValueError(f"a tensor is (C, h, w) or (B, C, h, w) with C 1 to 4, got {tuple(image.shape)}")
    if image.dtype not in _WHITE and not image.is_floating_point():
        raise ValueError(f"samples are uint8, uint16 or floats, got {image.dtype}")
    image = image.detach()
    if image.is_floating_point() and image.numel():
        low, high = (float(end) for end in image.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"floats must lie in 0 to 1, found {low:g} to {high:g}; rescale the image first")
    batch = image if image.ndim == 4 else image[None]
    if image.shape[-3] in (2, 4) and len(batch):
        restored = torch.stack([restore_one(one) for one in batch])
    else:
        restored = restore_batch(batch, Samples, planner, run, progress)
    return restored if image.ndim == 4 else restored[0]


def restore_batch(batch: Tensor, kind: type[Values], planner: Planner, run: Run, progress: Progress | None) -> Tensor:
    """Run tiles of (B, C, h, w) through a network, as many images at once as memory allows; returns (B, C, h·s, w·s).

    progress: told the tiles of all that ran so far, and in all. Raises MemoryError when no tile is small enough.
    """
    height, width = batch.shape[2:]
    scale = planner.model.config.upscale
    shape = len(batch), batch.shape[1], height * scale, width * scale
    if not len(batch):
        return batch.new_empty(shape)

    def attempt(grid: Grid, count: int) -> Tensor:
        large, parts = batch.new_empty(shape), batch.split(count)
        for number, (part, place) in enumerate(zip(parts, large.split(count), strict=True)):
            samples, top = kind(part), 0

            def show(done: int, total: int, number: int = number) -> None:
                if progress is not None:
                    progress(number * total + done, len(parts) * total)

            for rows in restore_rows(run, samples.read, grid, show):
                place[:, :, top : top + rows.shape[2]] = samples.finish(rows)
                top += rows.shape[2]
        return large

    return planner.attempt_batch((height, width), len(batch), attempt)
