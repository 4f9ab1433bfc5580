"""Transparency: alpha is enlarged apart from the colour, which is mended where it cannot be seen."""

from __future__ import annotations

import pyvips

from mambairv2.images.arrays import DEPTHS, peak


def bleed(color: pyvips.Image, alpha: pyvips.Image) -> pyvips.Image:
    """Carry visible colour into the transparent pixels beside it, so that edges get no dark fringe.

    A network sees the colour of transparent pixels, often black, and blends it into the visible ones.
    """
    seen = alpha.cast("float")
    weight = seen.gaussblur(4, min_ampl=0.01, precision="float")
    nearby = (color * seen).gaussblur(4, min_ampl=0.01, precision="float") / weight  # libvips has x / 0 = 0
    nearby = nearby if color.format == "float" else nearby.rint()
    hidden = (alpha == 0) & (weight > 0)
    return hidden.ifthenelse(nearby.cast(color.format), color).copy(interpretation=color.interpretation)


def enlarge(alpha: pyvips.Image, scale: int, samples: str) -> pyvips.Image:
    """Return alpha at the size and depth of the output, by bicubic interpolation, clipped to its range."""
    factor = peak(DEPTHS[samples]) / peak(DEPTHS[alpha.format])
    large = _bicubic(alpha.cast("float"), scale) * factor
    if samples == "float":
        return (large < 0).ifthenelse(0, (large > 1).ifthenelse(1, large)).cast("float")
    return large.rint().cast(samples)


def _bicubic(image: pyvips.Image, scale: int) -> pyvips.Image:
    """Enlarge by bicubic interpolation, centre on centre as the network does; `resize` is half a pixel off."""
    if scale == 1:
        return image
    shift = (scale - 1) / (2 * scale)
    return image.affine(
        [scale, 0, 0, scale],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, image.width * scale, image.height * scale],
        idx=shift,
        idy=shift,
        extend="copy",
    )
