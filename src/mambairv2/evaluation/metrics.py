"""PSNR and SSIM as the field's benchmarks compute them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

Channels = Literal["y", "rgb"]
Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]


def luma(image: Image) -> Plane:
    """Return Y of BT.601 in studio swing (16 to 235), not rounded.

    image: (H, W, 3) uint8 RGB. Returns (H, W) float64. A grey image, (H, W) or (H, W, 1), is returned with its values.
    """
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(image.shape[:2]).astype(np.float64)
    return image.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16.0


def _planes(image: Image, channels: Channels, border: int) -> Plane:
    """Return the values that are compared, (H, W, C) float64, without the border."""
    pixels = luma(image) if channels == "y" else image.astype(np.float64)
    pixels = pixels.reshape(*image.shape[:2], -1)
    return pixels[border : pixels.shape[0] - border, border : pixels.shape[1] - border]


def _compared(image: Image, reference: Image, channels: Channels, border: int) -> tuple[Plane, Plane]:
    if image.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"metrics compare uint8 images, got {image.dtype} and {reference.dtype}")
    if image.shape != reference.shape:
        raise ValueError(f"metrics compare images of one shape, got {image.shape} and {reference.shape}")
    if min(image.shape[:2]) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of an image of {image.shape[1]}x{image.shape[0]}")
    return _planes(image, channels, border), _planes(reference, channels, border)


def psnr(image: Image, reference: Image, channels: Channels = "rgb", border: int = 0) -> float:
    """Return the peak signal-to-noise ratio in dB: 20 log10(255 / sqrt(MSE)); infinity for equal images.

    image, reference: (H, W, C) or (H, W), uint8. channels: "y" compares luma, "rgb" all channels. border: pixels cut on
    each side. The mean square error (MSE) is over all pixels and channels, in float64. Raises ValueError for different
    shapes, another dtype, or a border that leaves nothing.
    """
    left, right = _compared(image, reference, channels, border)
    error = float(np.mean((left - right) ** 2))
    return math.inf if error == 0 else 20 * math.log10(255 / math.sqrt(error))


def _blur(plane: Plane) -> Plane:
    """Blur with an 11×11 Gaussian of σ 1.5, only where it lies inside: (H, W, C) to (H-10, W-10, C)."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    taps /= taps.sum()
    height, width = plane.shape[0] - 10, plane.shape[1] - 10
    rows, blurred = np.zeros((height, *plane.shape[1:])), np.zeros((height, width, *plane.shape[2:]))
    for k, tap in enumerate(taps):
        rows += tap * plane[k : k + height]
    for k, tap in enumerate(taps):
        blurred += tap * rows[:, k : k + width]
    return blurred


def ssim(image: Image, reference: Image, channels: Channels = "rgb", border: int = 0) -> float:
    """Return the structural similarity, 1 for equal images (Wang et al., 2004; K1 0.01, K2 0.03).

    image, reference: (H, W, C) or (H, W), uint8; channels and border as in `psnr`. The mean is over channels and over
    the positions where an 11×11 Gaussian window of σ 1.5 lies inside the image. Raises ValueError as `psnr` does, and
    for images of fewer than 11 pixels a side without the border.
    """
    left, right = _compared(image, reference, channels, border)
    if min(left.shape[:2]) < 11:
        raise ValueError(f"SSIM needs 11 pixels a side after the border, got {left.shape[1]}x{left.shape[0]}")
    mean_l, mean_r = _blur(left), _blur(right)
    var_l, var_r = _blur(left * left) - mean_l**2, _blur(right * right) - mean_r**2
    covariance = _blur(left * right) - mean_l * mean_r
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * covariance + c2) / (var_l + var_r + c2)
    return float(np.mean((2 * mean_l * mean_r + c1) / (mean_l**2 + mean_r**2 + c1) * structure))
