"""Restore images: an array, a tensor or a file in, the same kind out, through one path."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambairv2.images.arrays import Depth, quantise
from mambairv2.images.canvas import Canvas
from mambairv2.images.errors import writing
from mambairv2.images.formats import MAX_PIXELS, SaveOptions
from mambairv2.images.picture import Picture
from mambairv2.images.reading import from_array, open_pages, open_picture
from mambairv2.images.writing import finish, output_depth, save
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.channels import plainly_enlarged, restore_channels
from mambairv2.restoration.forecast import Forecaster
from mambairv2.restoration.grid import Grid
from mambairv2.restoration.kinds.encoded import Readable, restore_encoded, restore_open
from mambairv2.restoration.kinds.pillow import is_pillow, restore_pillow
from mambairv2.restoration.kinds.tensors import Values, restore_batch, restore_tensor
from mambairv2.restoration.networks import make_network
from mambairv2.restoration.planning import OVERLAP, TILE, Planner, Tile
from mambairv2.restoration.precision import Precision
from mambairv2.restoration.results import Estimate, Restored
from mambairv2.restoration.self_ensemble import SelfEnsemble
from mambairv2.restoration.tiling import Progress, restore_rows

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[np.generic]


class Restorer:
    """A network on a device, ready to restore images of any size; safe to share between threads.

    weights: all that `load_model` takes, such as a packaged name (`sr-x2`), a file (an .onnx file runs on the CPU by
    ONNX Runtime) or `owner/repo` on the Hugging Face Hub; or a network (moved there and set to evaluation).
    device: `auto` takes a CUDA GPU when there is one, else the CPU. tile: largest side of a tile in input pixels, a
    multiple of 16; `auto` is 256, less if memory is short; `whole` never tiles. overlap: pixels that neighbouring tiles
    share, a multiple of 16. self_ensemble: average over the eight rotations and reflections of every tile, in eight
    times the time. margin: let the network see the picture mirrored beyond its edges, on top of `tile`, and crop that;
    False gives the result of the published code, whose zero padding changes flat colours along the border. dtype: what
    the network computes in, by default that of the network given, else float32. On a GPU half precision takes less
    memory. On a CPU bfloat16 is faster where the processor has it (AVX512-BF16), else a PrecisionWarning says that it
    stays in float32; float16 is slower there.
    strength: share of the network in the result, from 0 to 1; the rest is a plain enlargement (Lanczos), or the input
    itself at ×1.

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
        margin: bool = True,
        dtype: Precision | None = None,
        strength: float = 1.0,
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be 0 to 1, got {strength:g}")
        self.model, self.device = make_network(weights, device, dtype)
        self.dtype = dtype
        self.tile, self.overlap, self.self_ensemble, self.margin = tile, overlap, self_ensemble, margin
        self.strength = strength
        self._tile = SelfEnsemble(self._run) if self_ensemble else self._run
        self._planner = Planner(self.model, self.device, tile, overlap, margin)
        self._forecaster = Forecaster(self._planner, self._tile)

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.model.config.upscale

    def on(self, device: str | torch.device) -> Restorer:
        """Return the same restorer on another device, with a copy of the network there; errors as `Restorer`."""
        return Restorer(
            copy.deepcopy(self.model),
            device,
            tile=self.tile,
            overlap=self.overlap,
            self_ensemble=self.self_ensemble,
            margin=self.margin,
            dtype=self.dtype,
            strength=self.strength,
        )

    def share_memory(self, images: int) -> None:
        """Plan from now on for so many images at once, in threads: each takes its part of the free memory."""
        self._planner.images = images

    def plan(self, size: tuple[int, int]) -> Grid:
        """Return the tiles for an image of height and width `size`, from the free memory if `tile` is `auto`."""
        return self._planner.plan(size)

    @overload
    def restore(self, image: Tensor, progress: Progress | None = None) -> Tensor: ...

    @overload
    def restore(
        self, image: str | Path | Array, progress: Progress | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> Array: ...

    @overload
    def restore(self, image: Image, progress: Progress | None = None) -> Image: ...

    @overload
    def restore(
        self, image: bytes | bytearray | memoryview, progress: Progress | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> bytes: ...

    @overload
    def restore(
        self, image: Readable, progress: Progress | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> io.BytesIO: ...

    def restore(
        self,
        image: str | Path | Array | Tensor | Image | bytes | bytearray | memoryview | Readable,
        progress: Progress | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> Array | Tensor | Image | bytes | io.BytesIO:
        """Restore one image, or a batch in a tensor.

        image: an array (h, w) or (h, w, C), a tensor (C, h, w) or (B, C, h, w), a path to an image file, its content
        as bytes or as an open file, or an image of Pillow (`restore_pillow` says which modes). C is 1
        (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Integers are uint8 or uint16, floats lie in [0, 1].
        progress: called with tiles done and tiles in all; what it raises cancels. max_pixels: above which a file, or
        its content, is refused.

        Returns the same kind, layout and dtype, scaled in height and width; for a path, an array (h, w, C) of
        the file's depth; for bytes and open files, a file of the same format, or PNG. Integers are rounded to
        nearest, floats clipped to [0, 1]. Raises ImageError for a
        file that cannot be read, ValueError for other shapes and dtypes, TypeError for other kinds of images,
        MemoryError when no tile is small enough, FloatingPointError when the network gives NaN or infinity.
        """
        restore_file = partial(self.restore_file, progress=progress, max_pixels=max_pixels)
        if isinstance(image, Tensor):
            return restore_tensor(image, self._planner, self._tile, partial(self._restore_one, progress), progress)
        if isinstance(image, str | Path):
            return self._restore_picture(open_picture(image, max_pixels=max_pixels), progress)
        if is_pillow(image):
            return restore_pillow(cast("Image", image), lambda pixels: self.restore(pixels, progress))
        if isinstance(image, bytes | bytearray | memoryview):
            return restore_encoded(bytes(image), restore_file)
        if not isinstance(image, np.ndarray) and hasattr(image, "read"):
            return restore_open(image, restore_file)
        if not isinstance(image, np.ndarray):
            kind = type(image).__name__
            known = "a path, bytes, an open file, a NumPy array, a tensor or an image of Pillow"
            raise TypeError(f"an image is {known}, got {kind}; try numpy.asarray(image)")
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
        planned: Callable[[Estimate], None] | None = None,
    ) -> Restored:
        """Restore an image file into another, whose format its suffix names.

        The output appears whole or not at all; its folder is made. Memory is bounded whatever the size. page,
        max_pixels: as `open_picture`. progress: as `restore`. planned: called with an estimate before the work
        begins, and again when memory ran out and it begins anew with smaller tiles. Raises ImageError, one line
        naming the file, and MemoryError when no tile is small enough.
        """
        start, target = time.perf_counter(), Path(target)
        hidden = options is not None and options.keep_hidden
        pictures = open_pages(source, page=page, max_pixels=max_pixels, keep_hidden=hidden)
        depth, size = output_depth(target, pictures, self.scale), pictures[0].size
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)

        def attempt(grid: Grid) -> tuple[str, ...]:
            if planned is not None:
                planned(self._forecaster.estimate(pictures, grid))
            with self._canvas(pictures, depth, target) as canvas:
                self._fill(canvas, pictures, grid, progress)
                image, notes = finish(canvas.image(), pictures, self.scale, target)
                return notes + save(image, target, options, pictures)

        grid, notes = self._planner.attempt(size, attempt)
        if self.tile == "auto" and grid.tile is not None and grid.tile < TILE:
            notes += (f"tile {grid.tile} for lack of memory",)
        seconds = time.perf_counter() - start
        return Restored(Path(source), target, size, self.scale, seconds, notes)

    def infer(self, image: Tensor, progress: Progress | None = None) -> Tensor:
        """Restore values as they are, neither clipped nor rounded; tiles and self-ensemble as in `restore`.

        image: (C, h, w) or (B, C, h, w) float32, grey (1) or RGB (3), around [0, 1]: noise may lie outside. Returns
        (…, C, h·scale, w·scale) float32 on its device. Raises MemoryError when no tile is small enough.
        """
        batch = image if image.ndim == 4 else image[None]
        restored = restore_batch(batch, Values, self._planner, self._tile, progress)
        return restored if image.ndim == 4 else restored[0]

    def _restore_one(self, progress: Progress | None, image: Tensor) -> Tensor:
        """Restore a tensor (C, h, w) with alpha, whose colour is mended where it cannot be seen."""
        working = image.cpu().float() if image.is_floating_point() else image.cpu()
        restored = self.restore(working.permute(1, 2, 0).contiguous().numpy(), progress)
        return torch.from_numpy(restored).permute(2, 0, 1).contiguous().to(image)

    def _restore_picture(self, picture: Picture, progress: Progress | None) -> Array:
        def attempt(grid: Grid) -> Array:
            with self._canvas([picture], picture.depth, None) as canvas:
                self._fill(canvas, [picture], grid, progress)
                image, _ = finish(canvas.image(), [picture], self.scale, Path("array.tif"))
                return np.asarray(image.numpy()).reshape(image.height, image.width, image.bands)

        return self._planner.attempt(picture.size, attempt)[1]

    def _canvas(self, pages: Sequence[Picture], depth: Depth, target: Path | None) -> Canvas:
        height, width = pages[0].size
        size = len(pages) * height * self.scale, width * self.scale
        return Canvas(size, pages[0].channels, depth, target, pages[0].path)

    def _fill(self, canvas: Canvas, pages: Sequence[Picture], grid: Grid, progress: Progress | None) -> None:
        """Restore the colour, page by page, row of tiles by row of tiles; a page without colour stays without."""
        for number, page in enumerate(pages):
            grey = page.is_colourless()

            def read(rows: slice, columns: slice, page: Picture = page) -> Tensor:
                return torch.from_numpy(page.region(rows, columns))

            def show(done: int, total: int, number: int = number) -> None:
                if progress is not None:
                    progress(number * total + done, len(pages) * total)

            for rows in restore_rows(self._tile, read, grid, show):
                rows = rows.mean(dim=0, keepdim=True).expand_as(rows) if grey else rows
                canvas.add(quantise(rows.permute(1, 2, 0).numpy(), canvas.depth))

    @torch.inference_mode()
    def _run(self, image: Tensor) -> Tensor:
        """Run the network on one tile, or on tiles of several images, whatever their channels.

        (C, h, w) or (B, C, h, w) to the same, scaled, float32, on the device of the image.
        """
        x = (image if image.ndim == 4 else image[None]).to(self.device, next(self.model.parameters()).dtype)
        restored = restore_channels(self.model, self.model.config.in_channels, self.scale, x).float().to(image.device)
        if not torch.isfinite(restored).all():
            computed = f"computed in {str(x.dtype).removeprefix('torch.')} on {self.device}"
            raise FloatingPointError(
                f"the network gave NaN or infinity ({computed}), so nothing was written; "
                "`mambairv2 check` tests the backends of this machine"
            )
        restored = restored if image.ndim == 4 else restored[0]
        if self.strength == 1:
            return restored
        return torch.lerp(plainly_enlarged(image, self.scale), restored, self.strength)


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
