"""Resizing by several filters, as the programs do that pictures have passed through.

Output pixel i has its centre at (i + 1/2) / s - 1/2 of the input, where s is the output's size over the input's. Its
value is the mean of input pixels weighted by a filter; where the image shrinks, the filter is widened by 1 / s
(antialiasing). Filters: area (the overlap of the two pixels), bilinear (a triangle), bicubic (Keys 1981, a = -1/2)
and Lanczos (sinc(x) · sinc(x / 3)). Beyond the border the image is mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mambairv2.images.degradation.step import Floats, Range, Step, check_choices, check_range, drawn, pick

Filter = Literal["area", "bilinear", "bicubic", "lanczos"]
FILTERS: tuple[Filter, ...] = ("area", "bilinear", "bicubic", "lanczos")
_Profile = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def _triangle(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(0, 1 - np.abs(x))


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = np.abs(x)
    inner, outer = (1.5 * near - 2.5) * near**2 + 1, ((2.5 - 0.5 * near) * near - 4) * near + 2
    return np.where(near <= 1, inner, np.where(near < 2, outer, 0))


def _lanczos(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


_PROFILES: dict[str, tuple[_Profile, int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
    "lanczos": (_lanczos, 3),
}


@lru_cache(maxsize=256)
def _taps(size: int, out_size: int, name: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """For each output position the input positions it reads and their weights, both (out_size, taps)."""
    scale = out_size / size
    shrink = min(scale, 1.0)
    reach = 0.5 / scale + 0.5 if name == "area" else _PROFILES[name][1] / shrink
    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    position = np.ceil(centre - reach)[:, None] + np.arange(int(2 * reach) + 1)
    distance = position - centre[:, None]
    if name == "area":
        half = 0.5 / scale
        weight = np.minimum(distance + 0.5, half) - np.maximum(distance - 0.5, -half)
        weight = np.maximum(weight, 0)
    else:
        weight = _PROFILES[name][0](distance * shrink)
    weight /= weight.sum(axis=1, keepdims=True)
    used = np.abs(weight).max(axis=0) > 1e-9
    position, weight = position[:, used].astype(np.intp) % (2 * size), weight[:, used]
    return np.where(position < size, position, 2 * size - 1 - position), weight.astype(np.float32)


def _resize_rows(image: Floats, out_size: int, name: str) -> Floats:
    position, weight = _taps(image.shape[0], out_size, name)
    total = np.zeros((out_size, *image.shape[1:]), np.float32)
    for tap in range(position.shape[1]):
        total += image[position[:, tap]] * weight[:, tap][:, None, None]
    return total


def resample(image: Floats, size: tuple[int, int], name: Filter) -> Floats:
    """Resize (H, W, C) to `size`, (h, w), by a filter; values may leave [0, 1] a little.

    The sums run in float32 and in a fixed order, so every machine gets the same.
    """
    if image.shape[:2] == size:
        return image
    tall = _resize_rows(image, size[0], name)
    return np.ascontiguousarray(_resize_rows(tall.swapaxes(0, 1), size[1], name).swapaxes(0, 1))


@dataclass(frozen=True, kw_only=True)
class Resize(Step):
    """Resize by a drawn scale, and back or not. The chain ends at the size of the input, whatever was done before."""

    mixes: ClassVar[bool] = True

    kind: Literal["resize"] = "resize"
    filters: tuple[Filter, ...] = FILTERS
    """Drawn equally often, for the way back anew."""
    scale: Range = (0.5, 1.5)
    """Of the size before; drawn evenly."""
    back: float = 0.0
    """Share of the images that are brought back to their size at once."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_choices("filters", self.filters)
        check_range("scale", self.scale, 0.1, 4)
        if not 0 <= self.back <= 1:
            raise ValueError(f"back must be 0 to 1, got {self.back:g}")

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the image, resized."""
        scale, back = drawn(self.scale, generator), generator.random() < self.back
        size = image.shape[0], image.shape[1]
        there = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        image = fit(image, there, self.filters, generator)
        return fit(image, size, self.filters, generator) if back else image


@dataclass(frozen=True, kw_only=True)
class Shrink(Step):
    """Bring the image to the size of the network's input: target over scale. Without it that is the last step."""

    mixes: ClassVar[bool] = True

    kind: Literal["shrink"] = "shrink"
    filters: tuple[Filter, ...] = FILTERS
    """Drawn equally often."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_choices("filters", self.filters)


def fit(image: Floats, size: tuple[int, int], filters: tuple[Filter, ...], generator: np.random.Generator) -> Floats:
    """Resize to a size by one of several filters, drawn; nothing is drawn where the size is right already."""
    if image.shape[:2] == size:
        return image
    chosen: Filter = pick(filters, generator)  # type: ignore[assignment]  # one of `filters`
    return resample(image, size, chosen)
