"""How noisy an image is, by its finest detail in its smoothest places."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BLOCK = 16
"""Side of the squares that are looked at one by one, in pixels."""
_SHARE = 10
"""The estimate is this percentile over the squares: enough of them are smooth in most pictures."""


def noise_level(plane: npt.NDArray[np.float32]) -> float:
    """Estimate the standard deviation of white noise, in the plane's own units.

    plane: (H, W). The second difference down and across, with the weights 1 -2 1 in both directions, is 0 on slopes and
    gives white noise 6 times its strength (Immerkær, Fast noise variance estimation, 1996). In each square the median
    absolute value over 0.6745 is a robust standard deviation. Texture raises it, so the smoother squares count. Squares
    that are flat to the last bit are left out, as clipped skies hide the noise; but where they are the most, as in
    drawings, there is none. 0 for a plane smaller than a square.
    """
    down = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    detail = np.abs(down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]) / 6
    height, width = (side // _BLOCK * _BLOCK for side in detail.shape)
    if min(height, width) == 0:
        return 0.0
    squares = detail[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).swapaxes(1, 2)
    deviations = np.median(squares, axis=(2, 3)) / 0.6745
    flat = squares.max(axis=(2, 3)) == 0
    counting = deviations[~_with_neighbours(flat)]
    return 0.0 if flat.mean() > 0.5 or counting.size == 0 else float(np.percentile(counting, _SHARE))


def _with_neighbours(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the squares above, below and beside marked ones too: their half may be flat."""
    near = marked.copy()
    near[1:] |= marked[:-1]
    near[:-1] |= marked[1:]
    near[:, 1:] |= marked[:, :-1]
    near[:, :-1] |= marked[:, 1:]
    return near
