"""A network for each file: one for ordinary photographs, one for files without traces of compression and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mambairv2.images.estimation.compression import is_lossy_webp, jpeg_quality
from mambairv2.images.estimation.noise import noise_level
from mambairv2.images.formats import MAX_PIXELS, SaveOptions
from mambairv2.images.reading import open_pages
from mambairv2.restoration.restorer import Restorer
from mambairv2.restoration.results import Estimate, Restored
from mambairv2.restoration.tiling import Progress

Named = tuple[str, Restorer]
"""The name of weights, and what restores with them."""
GOOD_QUALITY = 90
"""JPEG quality from which a file counts as clean."""
LITTLE_NOISE = 3.5
"""Standard deviation of noise, in levels of 255, up to which a file counts as clean."""
_SIDE = 768
"""Side of the square in the middle of an image that is decoded to estimate noise."""


class Choosing:
    """Restores each file with the network that suits it, and says which one that was, and why.

    photo: for photographs as people have them. clean: for clean pictures, at the same scale; None where the first is
    for all files. Each comes with its name.
    """

    def __init__(self, photo: Named, clean: Named | None = None) -> None:
        self.photo, self.clean = photo, clean

    def on(self, device: str | torch.device) -> Choosing:
        """Return the same on another device, as `Restorer.on`."""
        clean = (self.clean[0], self.clean[1].on(device)) if self.clean else None
        return Choosing((self.photo[0], self.photo[1].on(device)), clean)

    def share_memory(self, images: int) -> None:
        """Plan for so many images at once, as `Restorer.share_memory`."""
        for _, restorer in filter(None, (self.photo, self.clean)):
            restorer.share_memory(images)

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
        """Restore an image file into another, as `Restorer.restore_file`; the first note names the network."""
        if self.clean is None:
            (name, restorer), why = self.photo, ""
        else:
            spoilt, seen = condition(source, page, max_pixels)
            name, restorer = self.photo if spoilt else self.clean
            why = f" for {seen}"
        made = restorer.restore_file(
            source, target, options=options, page=page, max_pixels=max_pixels, progress=progress, planned=planned
        )
        return replace(made, notes=(f"by {name}{why}", *made.notes))


def condition(source: str | Path, page: int | None = None, max_pixels: int = MAX_PIXELS) -> tuple[bool, str]:
    """Tell whether a file shows traces of compression or noise, and what was seen, in a few words.

    Compression is read from the file, noise is estimated in the middle of the first page. Raises ImageError for a file
    that cannot be read.
    """
    pictures = open_pages(source, page=page, max_pixels=max_pixels)
    quality = jpeg_quality(source)
    if quality is not None and quality < GOOD_QUALITY:
        return True, f"a JPEG of quality {quality}"
    if is_lossy_webp(source):
        return True, "a WebP with loss"
    height, width = pictures[0].size
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    values = pictures[0].region(slice(top, min(top + _SIDE, height)), slice(left, min(left + _SIDE, width)))
    noise = 255 * float(np.mean([noise_level(plane) for plane in values]))
    if noise > LITTLE_NOISE:
        return True, f"noise of σ {noise:.1f}"
    return False, "a clean picture" if quality is None else f"a JPEG of quality {quality}"
