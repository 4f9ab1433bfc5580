"""Restore images: an array, a tensor or a file in, the same kind out, through one path."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mambairv2.canvas import Canvas
from mambairv2.encoding import SaveOptions, finish, output_depth, save, writing
from mambairv2.ensemble import self_ensemble as ensemble
from mambairv2.images import MAX_PIXELS, Depth, Picture, from_array, open_pages, open_picture, quantise
from mambairv2.memory import free_memory
from mambairv2.model import MambaIRv2
from mambairv2.tiling import Grid, Progress, restore_rows
from mambairv2.weights import load_model

Tile = int | Literal["auto", "whole"]
Array = npt.NDArray[np.generic]
Result = TypeVar("Result")

TILE = 256
"""Largest side of a tile unless memory is short. It is fixed, so that every machine gives the same image."""
SMALLEST_TILE = 64
OVERLAP = 16
"""Chosen by `benchmarks/seams.py`, see docs/tiling.md."""
BYTES_PER_CHANNEL = 400
"""Peak memory of a network for each input pixel and channel of `embed_dim`, float32: 344 to 390 bytes
measured (light ×2, 128×128 and 256×256, the torch backend on a CPU)."""
SHARE = 0.7
"""Of the free memory, what a plan may fill."""
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Restored:
    """What became of one file."""

    source: Path
    target: Path
    size: tuple[int, int]
    """Height and width of the input."""
    scale: int
    seconds: float
    notes: tuple[str, ...]
    """What a user should know: a conversion, or a smaller tile than asked for."""


class Restorer:
    """A network on a device, ready to restore images of any size; safe to share between threads.

    weights: a packaged name (`sr-x2`), a file, or a network (moved there and set to evaluation). device:
    `auto` takes a CUDA GPU when there is one, else the CPU. tile: largest side of a tile in input pixels, a
    multiple of 16; `auto` is 256, less if memory is short; `whole` never tiles. overlap: pixels that
    neighbouring tiles share, a multiple of 16. self_ensemble: average over the eight turns and mirrorings of
    every tile, in eight times the time.

    Raises WeightsError for weights that cannot be used and ValueError for other values out of range.
    """

    def __init__(
        self,
        weights: str | Path | MambaIRv2 = "sr-x2",
        device: str | torch.device = "auto",
        *,
        tile: Tile = "auto",
        overlap: int = OVERLAP,
        self_ensemble: bool = False,
    ) -> None:
        self.device = pick_device(device)
        self.model = load_model(weights, device=self.device) if isinstance(weights, str | Path) else weights
        self.model = self.model.to(self.device).eval()
        self.tile, self.overlap = tile, overlap
        self._tile = ensemble(self._run) if self_ensemble else self._run
        self._grid((1, 1), tile if isinstance(tile, int) else None)  # a value out of range shows now

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.model.config.upscale

    @overload
    def restore(self, image: Tensor, progress: Progress | None = None) -> Tensor: ...

    @overload
    def restore(self, image: str | Path | Array, progress: Progress | None = None) -> Array: ...

    def restore(self, image: str | Path | Array | Tensor, progress: Progress | None = None) -> Array | Tensor:
        """Restore one image, or a batch in a tensor.

        image: an array (h, w) or (h, w, C), a tensor (C, h, w) or (B, C, h, w), or a path to an image file. C
        is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Integers are uint8 or uint16, floats lie in
        [0, 1]. progress: called with tiles done and tiles in all; what it raises cancels.

        Returns the same kind, layout and dtype, scaled in height and width; for a path, an array (h, w, C) of
        the file's depth. Integers are rounded to nearest, floats clipped to [0, 1]. Raises ImageError for a
        file that cannot be read, ValueError for other shapes and dtypes, MemoryError when no tile is small
        enough.
        """
        if isinstance(image, Tensor):
            return self._restore_tensor(image, progress)
        if isinstance(image, str | Path):
            return self._restore_picture(open_picture(image), progress)
        working = image.astype(np.float32) if image.dtype.kind == "f" else image
        restored = self._restore_picture(from_array(working), progress)
        return (restored[..., 0] if image.ndim == 2 else restored).astype(image.dtype, copy=False)

    def restore_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        options: SaveOptions | None = None,
        page: int | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Restored:
        """Restore an image file into another, whose format its suffix names.

        The output appears whole or not at all; its folder is made. Memory is bounded whatever the size. page,
        max_pixels: as `open_picture`. Raises ImageError, one line naming the file, and MemoryError when no
        tile is small enough.
        """
        start, target = time.perf_counter(), Path(target)
        pictures = open_pages(source, page=page, max_pixels=max_pixels)
        depth, size = output_depth(target, pictures, self.scale), pictures[0].size
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)

        def attempt(grid: Grid) -> tuple[str, ...]:
            with self._canvas(pictures, depth, target) as canvas:
                self._fill(canvas, pictures, grid, progress)
                image, notes = finish(canvas.image(), pictures, self.scale, target)
                return notes + save(image, target, options)

        grid, notes = self._attempt(size, attempt)
        if self.tile == "auto" and grid.tile is not None and grid.tile < TILE:
            notes += (f"tile {grid.tile} for lack of memory",)
        seconds = time.perf_counter() - start
        return Restored(Path(source), target, size, self.scale, seconds, notes)

    def _restore_tensor(self, image: Tensor, progress: Progress | None) -> Tensor:
        if image.ndim == 4:
            return torch.stack([self._restore_tensor(one, progress) for one in image])
        if image.ndim != 3:
            raise ValueError(f"a tensor is (C, h, w) or (B, C, h, w), got {tuple(image.shape)}")
        working = image.detach().cpu()
        working = working.float() if working.is_floating_point() else working
        restored = self.restore(working.permute(1, 2, 0).contiguous().numpy(), progress)
        return torch.from_numpy(restored).permute(2, 0, 1).contiguous().to(image)

    def _restore_picture(self, picture: Picture, progress: Progress | None) -> Array:
        def attempt(grid: Grid) -> Array:
            with self._canvas([picture], picture.depth, None) as canvas:
                self._fill(canvas, [picture], grid, progress)
                image, _ = finish(canvas.image(), [picture], self.scale, Path("array.tif"))
                return np.asarray(image.numpy()).reshape(image.height, image.width, image.bands)

        return self._attempt(picture.size, attempt)[1]

    def _canvas(self, pages: Sequence[Picture], depth: Depth, target: Path | None) -> Canvas:
        height, width = pages[0].size
        size = len(pages) * height * self.scale, width * self.scale
        return Canvas(size, pages[0].channels, depth, target)

    def _fill(
        self, canvas: Canvas, pages: Sequence[Picture], grid: Grid, progress: Progress | None
    ) -> None:
        """Restore the colour, page by page, row of tiles by row of tiles."""
        for number, page in enumerate(pages):

            def read(rows: slice, columns: slice, page: Picture = page) -> Tensor:
                return torch.from_numpy(page.region(rows, columns))

            def show(done: int, total: int, number: int = number) -> None:
                if progress is not None:
                    progress(number * total + done, len(pages) * total)

            for rows in restore_rows(self._tile, read, grid, show):
                canvas.add(quantise(rows.permute(1, 2, 0).numpy(), canvas.depth))

    @torch.inference_mode()
    def _run(self, image: Tensor) -> Tensor:
        """The network on one tile, whatever its channels: (C, h, w) to (C, h·s, w·s), float32."""
        x = image[None].to(self.device)
        wanted = self.model.config.in_channels
        if x.shape[1] == wanted:
            y = self.model(x)
        elif wanted == 3:  # grey: three equal channels, whose restorations are averaged
            y = self.model(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
        else:  # a grey network restores the luma of RGB, colour differences are resampled
            luma = (x * x.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
            y = self._resample(x) + self.model(luma) - self._resample(luma)
        restored: Tensor = y[0].float().cpu()
        return restored

    def _resample(self, x: Tensor) -> Tensor:
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bicubic")
        return x

    def _grid(self, size: tuple[int, int], tile: int | None) -> Grid:
        return Grid(size, self.scale, tile, self.overlap, self.model.config.window_size)

    def plan(self, size: tuple[int, int]) -> Grid:
        """The tiles for an image of height and width `size`, from the free memory if `tile` is `auto`."""
        if self.tile != "auto":
            return self._grid(size, None if self.tile == "whole" else self.tile)
        free = free_memory(self.device)
        pixels = TILE**2 if free is None else free * SHARE / bytes_per_pixel(self.model)
        return self._grid(size, self._fitting(pixels))

    def _fitting(self, pixels: float) -> int:
        window = self.model.config.window_size
        tile = min(TILE, int(max(pixels, 0) ** 0.5) // window * window)
        return max(tile, SMALLEST_TILE, self.overlap + window)

    def _attempt(self, size: tuple[int, int], attempt: Callable[[Grid], Result]) -> tuple[Grid, Result]:
        """Try with the planned tile; if `tile` is `auto`, with smaller ones while memory runs out."""
        grid = self.plan(size)
        while True:
            try:
                return grid, attempt(grid)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            largest = min(grid.tile or max(size), max(size))
            smaller = self._fitting((largest / 2) ** 2)
            if self.tile != "auto" or smaller >= largest:
                raise MemoryError(
                    f"not enough memory on {self.device} for tiles of {largest}; try a smaller tile"
                )
            grid = self._grid(size, smaller)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def restore(
    image: str | Path | Array | Tensor,
    weights: str | Path | MambaIRv2 = "sr-x2",
    *,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
    overlap: int = OVERLAP,
) -> Array | Tensor:
    """Restore one image; shapes, ranges, errors as `Restorer.restore`. For several, make one `Restorer`."""
    return Restorer(weights, device, tile=tile, overlap=overlap).restore(image)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device to run on; `auto` is a CUDA GPU when there is one, else the CPU.

    Raises ValueError for a device this machine has not.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"no device {device} here ({str(error).splitlines()[0]}); use auto or cpu"
        ) from error
    return chosen


def bytes_per_pixel(model: MambaIRv2) -> int:
    """Estimate of the memory a network takes for each pixel of a tile."""
    config = model.config
    head = 4 * 4 * 64 * config.upscale**2 if config.upsampler not in ("", "pixelshuffledirect") else 0
    return BYTES_PER_CHANNEL * config.embed_dim + head


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the CPU or a GPU, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return bool(
        re.search(r"out of memory|not enough memory|can't allocate memory", str(error), re.IGNORECASE)
    )
