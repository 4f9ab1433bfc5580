"""The loss: mean absolute error (L1), Charbonnier's smooth version of it, or mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.training.recipe import TrainPart


def loss_of(part: TrainPart, output: Tensor, target: Tensor) -> Tensor:
    """Return the recipe's loss, a scalar: the mean of |d|, sqrt(d² + ε²) or d² over all values d = output − target.

    output, target: equal shapes, values around [0, 1].
    """
    difference = output - target
    if part.loss == "charbonnier":
        return torch.sqrt(difference * difference + part.charbonnier_eps**2).mean()
    return (difference * difference).mean() if part.loss == "mse" else difference.abs().mean()
