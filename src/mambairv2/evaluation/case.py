"""What is measured of one test image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambairv2.images.arrays import Pixels


@dataclass(frozen=True)
class Case:
    """One test image."""

    name: str
    input: npt.NDArray[np.float32]
    """(h, w, C) around [0, 1]; noise is not clipped."""
    target: Pixels
    """(h·s, w·s, C), the original."""
    baseline: Pixels
    """(h·s, w·s, C), an enlargement of the input (bicubic or Lanczos), or the input itself."""
