"""Augmentation: a patch is turned and mirrored in one of the eight ways that keep a square a square."""

from __future__ import annotations

from mambairv2.images.arrays import Pixels

WAYS = 8


def augment(image: Pixels, way: int) -> Pixels:
    """Return an image turned and mirrored, as a view of the same memory.

    image: (H, W, C), any dtype. way: 0 (as it is) to 7; its bits mirror left to right, mirror top to bottom, and
    exchange rows and columns, in this order.
    """
    if way & 1:
        image = image[:, ::-1]
    if way & 2:
        image = image[::-1]
    return image.swapaxes(0, 1) if way & 4 else image
