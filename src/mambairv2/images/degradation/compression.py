"""Compression: real encoding as JPEG or WebP, and decoding again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyvips

from mambairv2.images.arrays import Pixels, quantise
from mambairv2.images.degradation.step import Floats, Step, check_choices, check_range, pick

Chroma = Literal["4:2:0", "4:4:4"]


def jpeg(image: Pixels, quality: int, chroma: Chroma = "4:2:0") -> Pixels:
    """Encode as JPEG (ITU-T T.81, the tables of libjpeg) at a quality from 1 to 100 and decode again.

    image: (H, W, C) uint8, C 1 or 3; the result has the same shape. chroma: colour at half the width and height, or
    at the full.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be 1 to 100, got {quality}")
    mode = "on" if chroma == "4:2:0" else "off"
    encoded = _picture(image).jpegsave_buffer(Q=quality, subsample_mode=mode)
    decoded: Pixels = pyvips.Image.jpegload_buffer(encoded).numpy()
    return decoded.reshape(image.shape)


def webp(image: Pixels, quality: int) -> Pixels:
    """Encode as lossy WebP (RFC 9649; colour at half the width and height) at a quality from 0 to 100 and decode again.

    image: (H, W, C) uint8, C 1 or 3; the result has the same shape.
    """
    if not 0 <= quality <= 100:
        raise ValueError(f"WebP quality must be 0 to 100, got {quality}")
    decoded: Pixels = pyvips.Image.webpload_buffer(_picture(image).webpsave_buffer(Q=quality)).numpy()
    return np.ascontiguousarray(decoded[..., : image.shape[2]])


def _picture(image: Pixels) -> pyvips.Image:
    height, width, channels = image.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(image), width, height, channels, "uchar")
    return picture.copy(interpretation="b-w" if channels == 1 else "srgb")


def draw_quality(low: int, high: int, draw: str, generator: np.random.Generator) -> int:
    """Draw a quality of a range, its ends included.

    draw: `even`, or `low` for low ones more often, evenly on a logarithmic scale.
    """
    if draw == "even":
        return int(generator.integers(low, high + 1))
    return min(high, int(np.exp(generator.uniform(np.log(low), np.log(high + 1)))))


@dataclass(frozen=True, kw_only=True)
class Jpeg(Step):
    """JPEG by real encoding."""

    kind: Literal["jpeg"] = "jpeg"
    quality: tuple[int, int] = (35, 95)
    chroma: tuple[Chroma, ...] = ("4:2:0",)
    """Drawn equally often: colour at half the width and height, or at the full."""
    draw: Literal["even", "low"] = "even"
    """Draw all qualities of the range equally often, or low ones more often (evenly on a logarithmic scale)."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_choices("chroma", self.chroma)
        check_range("quality", self.quality, 1, 100)

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the image, encoded and decoded; it is rounded to 8 bits before."""
        quality = draw_quality(*self.quality, self.draw, generator)
        chroma: Chroma = pick(self.chroma, generator)  # type: ignore[assignment]  # one of `chroma`
        return to_floats(jpeg(to_pixels(image), quality, chroma))


@dataclass(frozen=True, kw_only=True)
class WebP(Step):
    """Lossy WebP by real encoding."""

    kind: Literal["webp"] = "webp"
    quality: tuple[int, int] = (50, 95)

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        check_range("quality", self.quality, 0, 100)

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the image, encoded and decoded; it is rounded to 8 bits before."""
        return to_floats(webp(to_pixels(image), draw_quality(*self.quality, "even", generator)))


def to_floats(image: Pixels) -> Floats:
    """Return 8-bit pixels as floats in [0, 1]."""
    return image * np.float32(1 / 255)


def to_pixels(image: Floats) -> Pixels:
    """Return floats around [0, 1], clipped and rounded, as 8-bit pixels."""
    return quantise(image, np.dtype(np.uint8)).astype(np.uint8, copy=False)
