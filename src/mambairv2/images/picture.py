"""An opened image file whose pixels are decoded a region at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

from mambairv2.images.arrays import DEPTHS, Depth, Samples, peak
from mambairv2.images.errors import ImageError, damaged
from mambairv2.images.metadata.model import Metadata


@dataclass(frozen=True)
class Picture:
    """An opened image file, upright, with its colour and its alpha apart."""

    path: Path
    color: pyvips.Image
    """1 (grey) or 3 (RGB) bands; uchar, ushort or float."""
    alpha: pyvips.Image | None
    """1 band of the same size and samples."""
    notes: tuple[str, ...] = ()
    """What had to change for the image to be opened, for the user to read."""
    metadata: Metadata = field(default_factory=Metadata)
    """What the file tells besides its pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.color.height, self.color.width

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB; alpha does not count."""
        return int(self.color.bands)

    @property
    def depth(self) -> Depth:
        """uint8, uint16 or float32."""
        return DEPTHS[self.color.format]

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Decode a rectangle of the colour.

        Returns (C, h, w) float32 in [0, 1]. Raises ImageError when the file is damaged there, or holds floats
        outside [0, 1], in its alpha too.
        """
        try:
            pixels = _fetch(self.color, rows, columns)
            if self.alpha is not None and self.depth.kind == "f":
                self._check(_fetch(self.alpha, rows, columns).astype(np.float32, copy=False))
        except pyvips.Error as error:
            raise damaged(self.path, error) from error
        values: npt.NDArray[np.float32] = pixels.transpose(2, 0, 1).astype(np.float32)
        values /= peak(self.depth)
        self._check(values)
        return values

    def is_colourless(self) -> bool:
        """Tell whether an RGB picture holds nothing but grey, as scans of black-and-white prints do.

        All of it is decoded unless its middle has colour. Raises ImageError when the file is damaged.
        """
        if self.channels == 1:
            return False
        height, width = self.size
        middle = slice(height // 2, min(height // 2 + 16, height)), slice(width // 2, min(width // 2 + 16, width))
        try:
            part = _fetch(self.color, *middle)
            if (part != part[..., :1]).any():
                return False
            red, green, blue = self.color.bandsplit()
            return not bool(((red != green) | (red != blue)).max())
        except pyvips.Error as error:
            raise damaged(self.path, error) from error

    def _check(self, values: npt.NDArray[np.float32]) -> None:
        if not (values.min() >= 0 and values.max() <= 1):
            found = f"{values.min():g} to {values.max():g}" if np.isfinite(values).all() else "NaN or infinity"
            raise ImageError(f"{self.path}: floats must lie in 0 to 1, found {found}; rescale the image first")


def _fetch(image: pyvips.Image, rows: slice, columns: slice) -> Samples:
    """Return the pixels of a rectangle, (h, w, bands).

    A region is used rather than `crop`: libvips caches operations, and a hundred cached crops hold their pixels.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    content = pyvips.Region.new(image).fetch(columns.start, rows.start, width, height)
    return np.frombuffer(content, DEPTHS[image.format]).reshape(height, width, image.bands)
