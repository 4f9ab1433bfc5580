"""Blur: Gaussian, isotropic or not, out of focus, and motion.

A blur is a weighted mean of neighbours, y[i, j] = Σ k[a, b] · x[i + a, j + b], with a kernel k whose sum is 1. Beyond
the border the image is mirrored. The kernels sample their formulas at pixel centres (Gonzalez and Woods, Digital Image
Processing, 4th edition, chapters 3 and 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mambairv2.images.degradation.step import Floats, Range, Step, check_choices, check_range, drawn, pick

Kernel = npt.NDArray[np.float64]
Shape = Literal["isotropic", "anisotropic", "focus", "motion"]
_REACH = 3.5
"""Standard deviations after which a Gaussian is cut off: 0.02 % of it lies beyond on each side."""
_FINE = 16
"""Points a pixel, along each axis, by which the area of a disc and the length of a line are measured."""


def gaussian_line(sigma: float) -> Kernel:
    """Return exp(-a² / 2σ²), normalised, for a from -r to r, (2r + 1,); sigma in pixels, 0 gives the identity."""
    if sigma <= 0:
        return np.ones(1)
    reach = int(np.ceil(_REACH * sigma))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return line / line.sum()


def gaussian_kernel(along: float, across: float, angle: float) -> Kernel:
    """Return a turned Gaussian, exp(-u² / 2·along² - v² / 2·across²), normalised, (2r + 1, 2r + 1).

    u and v are coordinates turned by `angle` in radians. along and across: standard deviations in pixels, above 0.
    """
    reach = int(np.ceil(_REACH * max(along, across)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Kernel:
    """Return the image of a point that is out of focus, an even disc: the share of each pixel that lies in it.

    radius in pixels, 0 gives the identity. Shares are counted on a grid of 16×16 points a pixel.
    """
    if radius <= 0:
        return np.ones((1, 1))
    reach = int(np.ceil(radius - 0.5))
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float64)
    side = 2 * reach + 1
    kernel = inside.reshape(side, _FINE, side, _FINE).sum((1, 3))
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float) -> Kernel:
    """Return the path of a point during an even, straight movement, with bilinear shares of the pixels beside it.

    length in pixels, 0 gives the identity; angle in radians.
    """
    points = np.linspace(-length / 2, length / 2, int(np.ceil(length * _FINE)) + 1)
    reach = int(np.ceil(length / 2))
    offsets = np.arange(-reach, reach + 1)[:, None]
    down, across = (np.maximum(0, 1 - abs(offsets - points * turn)) for turn in (np.sin(angle), np.cos(angle)))
    kernel = down @ across.T
    return kernel / kernel.sum()


def convolve(image: Floats, kernel: Kernel) -> Floats:
    """Return the weighted mean of the neighbours of each pixel; beyond the border the image is mirrored.

    image: (H, W, C); kernel: (2r + 1, 2s + 1). The sum runs in float32 and in a fixed order, so every machine gets the
    same. Weights below a ten-thousandth of the largest are left out.
    """
    height, width = image.shape[:2]
    rows, columns = (side // 2 for side in kernel.shape)
    padded = np.pad(image, ((rows, rows), (columns, columns), (0, 0)), "symmetric")
    used = np.where(kernel < 1e-4 * kernel.max(), 0, kernel)
    weights = (used / used.sum()).astype(np.float32)
    total, product = np.zeros_like(image), np.empty_like(image)
    for a, b in zip(*np.nonzero(weights), strict=True):
        total += np.multiply(padded[a : a + height, b : b + width], weights[a, b], out=product)
    return total


def gaussian_blur(image: Floats, sigma: float) -> Floats:
    """Blur by an isotropic Gaussian, rows then columns; sigma in pixels, 0 changes nothing."""
    line = gaussian_line(sigma)
    return convolve(convolve(image, line[:, None]), line[None])


@dataclass(frozen=True, kw_only=True)
class Blur(Step):
    """Blur by a kernel of one of several shapes."""

    mixes: ClassVar[bool] = True

    kind: Literal["blur"] = "blur"
    shapes: tuple[Shape, ...] = ("isotropic",)
    """Drawn equally often."""
    sigma: Range = (0.0, 1.5)
    """Standard deviation of Gaussian kernels in pixels; both axes draw their own where it is anisotropic."""
    radius: Range = (0.5, 2.0)
    """Of the disc of an image out of focus, in pixels."""
    length: Range = (1.0, 5.0)
    """Of a motion, in pixels."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_choices("shapes", self.shapes)
        check_range("sigma", self.sigma, 0, 20)
        check_range("radius", self.radius, 0, 20)
        check_range("length", self.length, 0, 50)

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the image, blurred."""
        shape = pick(self.shapes, generator)
        if shape == "isotropic":
            return gaussian_blur(image, drawn(self.sigma, generator))
        if shape == "focus":
            return convolve(image, disc_kernel(drawn(self.radius, generator)))
        angle = drawn((0, np.pi), generator)
        if shape == "motion":
            return convolve(image, motion_kernel(drawn(self.length, generator), angle))
        along, across = (max(drawn(self.sigma, generator), 0.05) for _ in range(2))
        return convolve(image, gaussian_kernel(along, across, angle))
