"""Augmentation: a patch is turned and mirrored in one of the eight ways that keep a square a square."""

from __future__ import annotations

from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.chain import Margins

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


def augmented_margins(margins: Margins, way: int) -> Margins:
    """Return the margins (top, left, bottom, right) that a patch has in the image that `augment` returns."""
    top, left, bottom, right = margins
    if way & 1:
        left, right = right, left
    if way & 2:
        top, bottom = bottom, top
    return (left, top, right, bottom) if way & 4 else (top, left, bottom, right)
