"""Self-ensemble: the mean over the eight rotations and reflections of an image (Timofte et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SelfEnsemble:
    """Averages a network over the eight rotations and reflections of its input, in eight times the time.

    A callable of the same kind as `restore`; it can be pickled if `restore` can.
    """

    restore: Callable[[Tensor], Tensor]
    """(…, h, w) to (…, h·s, w·s), also for h and w exchanged."""

    def __call__(self, image: Tensor) -> Tensor:
        """Restore an image."""
        total: Tensor | None = None
        for turn in range(8):
            turned = torch.rot90(image if turn < 4 else image.flip(-1), turn % 4, (-2, -1))
            back = torch.rot90(self.restore(turned), -(turn % 4), (-2, -1))
            back = back if turn < 4 else back.flip(-1)
            total = back if total is None else total + back
        assert total is not None
        return total / 8
