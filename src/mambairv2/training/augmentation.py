"""TODO training.augmentation."""

from __future__ import annotations

from mambairv2.images.arrays import Pixels


def _turn(image: Pixels, turn: int) -> Pixels:
    """One of the eight turns and mirrorings of a square."""
    if turn & 1:
        image = image[:, ::-1]
    if turn & 2:
        image = image[::-1]
    return image.swapaxes(0, 1) if turn & 4 else image
