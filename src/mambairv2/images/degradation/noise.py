"""Noise: Gaussian as sensors and amplifiers add it, and Poisson as the counting of photons does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.step import Floats, Range, Step, check_choices, check_range, drawn, pick

Model = Literal["gaussian", "poisson"]


def protocol_noise(image: Pixels, sigma: float) -> npt.NDArray[np.float32]:
    """Add the noise that published figures of denoising are measured with.

    A legacy generator is seeded with 0 for each image; noise is drawn as (H, W, 3) in BGR order and not clipped.
    image: (H, W, C) uint8, C 1 or 3. Returns (H, W, C) float32 around [0, 1].
    """
    noise = np.random.RandomState(0).normal(0, sigma / 255, image.shape)[:, :, ::-1]
    return (image / 255 + noise).astype(np.float32)


def add_gaussian(image: Floats, sigma: float, generator: np.random.Generator, grey: bool = False) -> Floats:
    """Add white noise of the density exp(-n² / 2σ²) / (σ √2π), without clipping.

    sigma in levels of 255. grey: the same noise in all channels.
    """
    shape = (*image.shape[:2], 1 if grey else image.shape[2])
    noise = generator.standard_normal(shape, dtype=np.float32)
    return image + noise * np.float32(sigma / 255)


def add_poisson(image: Floats, sigma: float, generator: np.random.Generator, grey: bool = False) -> Floats:
    """Replace each value x by k / n, where k has the Poisson distribution of mean n · x, without clipping.

    sigma: standard deviation at white in levels of 255, which makes n = (255 / σ)² photons. At a value x it is σ · √x,
    so dark places have less. grey: the noise of the mean of the channels in all of them. A sigma of 0 changes nothing.
    """
    if sigma <= 0:
        return image
    photons = (255 / sigma) ** 2
    light = image.mean(axis=2, keepdims=True) if grey else image
    light = np.clip(light, 0, 1)
    counted = generator.poisson(light * photons) / photons
    return (image + (counted - light)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Noise(Step):
    """Noise of one of two models, in colour or grey."""

    kind: Literal["noise"] = "noise"
    models: tuple[Model, ...] = ("gaussian",)
    """Drawn equally often."""
    sigma: Range = (0.0, 8.0)
    """Standard deviation in levels of 255, at white for Poisson; drawn evenly."""
    grey: float = 0.0
    """Share of the images with the same noise in all channels."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_choices("models", self.models)
        check_range("sigma", self.sigma, 0, 255)
        if not 0 <= self.grey <= 1:
            raise ValueError(f"grey must be 0 to 1, got {self.grey:g}")

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the image with noise; values may leave [0, 1]."""
        add = add_poisson if pick(self.models, generator) == "poisson" else add_gaussian
        sigma = drawn(self.sigma, generator)
        return add(image, sigma, generator, grey=self.grey > 0 and generator.random() < self.grey)
