"""Degradations added on the fly: Gaussian noise and real JPEG encoding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyvips

from mambairv2.images.arrays import Pixels


def add_noise(image: Pixels, sigma: float, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Add white Gaussian noise of standard deviation sigma (in levels of 255), without clipping.

    image: (H, W, C) uint8. Returns (H, W, C) float32 around [0, 1].
    """
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return image * np.float32(1 / 255) + noise * np.float32(sigma / 255)


def protocol_noise(image: Pixels, sigma: float) -> npt.NDArray[np.float32]:
    """Add the noise that published figures of denoising are measured with.

    A legacy generator is seeded with 0 for each image; noise is drawn as (H, W, 3) in BGR order and not clipped.
    image: (H, W, C) uint8, C 1 or 3. Returns (H, W, C) float32 around [0, 1].
    """
    noise = np.random.RandomState(0).normal(0, sigma / 255, image.shape)[:, :, ::-1]
    return (image / 255 + noise).astype(np.float32)


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Encode as JPEG at a quality from 1 to 100 (colour with 4:2:0 chroma) and decode again.

    image: (H, W, C) uint8, C 1 or 3; the result has the same shape.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be 1 to 100, got {quality}")
    height, width, channels = image.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(image), width, height, channels, "uchar")
    picture = picture.copy(interpretation="b-w" if channels == 1 else "srgb")
    encoded = picture.jpegsave_buffer(Q=quality, subsample_mode="on")
    decoded: Pixels = pyvips.Image.jpegload_buffer(encoded).numpy()
    return decoded.reshape(image.shape)
