"""TODO training.loss."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.training.recipe import TrainPart


def loss_of(part: TrainPart, output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, or Charbonnier's smooth version of it: sqrt(d² + ε²)."""
    difference = output - target
    if part.loss == "charbonnier":
        return torch.sqrt(difference * difference + part.charbonnier_eps**2).mean()
    return difference.abs().mean()
