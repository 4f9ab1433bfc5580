"""Sample types of images: which are handled, the value of white in each, and rounding to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.generic]
Pixels = npt.NDArray[np.uint8]
Depth = np.dtype[np.generic]
DEPTHS: dict[str, Depth] = {
    "uchar": np.dtype(np.uint8),
    "ushort": np.dtype(np.uint16),
    "float": np.dtype(np.float32),
}
"""The sample types that are handled, by the names of libvips."""
_PEAKS = {DEPTHS["uchar"]: 255, DEPTHS["ushort"]: 65535, DEPTHS["float"]: 1}


def peak(depth: Depth) -> int:
    """The value of white: 255, 65535, or 1 for floats. Raises ValueError for another dtype."""
    if depth not in _PEAKS:
        raise ValueError(f"samples are uint8, uint16 or float32, got {depth}")
    return _PEAKS[depth]


def quantise(values: npt.NDArray[np.float32], depth: Depth) -> Samples:
    """Clip values, any shape, to [0, 1] and scale them to uint8 or uint16, rounded to nearest, or float32."""
    scaled = np.clip(values, 0, 1)
    scaled *= np.float32(peak(depth))  # in place: rows of a wide image are many megabytes
    return (scaled if depth.kind == "f" else np.rint(scaled, out=scaled)).astype(depth, copy=False)
