"""The loss: mean absolute error (L1), Charbonnier's smooth version of it, mean squared error, or PSNR itself."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.training.recipe import TrainPart

ROUNDING = 1 / 12 / 255**2
"""Mean squared error that rounding to 8 bits makes: below it a better PSNR means nothing."""


def loss_of(part: TrainPart, output: Tensor, target: Tensor) -> Tensor:
    """Return the recipe's loss, a scalar.

    The mean of |d|, sqrt(d² + ε²) or d² over all values d = output − target; or the mean over the images of minus their
    PSNR, 10 log₁₀(mean of d² + the error of rounding to 8 bits), in dB, in which every image counts alike, however
    damaged. output, target: equal shapes (B, C, H, W), values around [0, 1].
    """
    difference = output - target
    if part.loss == "l1":
        return difference.abs().mean()
    squares = difference * difference
    if part.loss == "charbonnier":
        return torch.sqrt(squares + part.charbonnier_eps**2).mean()
    if part.loss == "mse":
        return squares.mean()
    return 10 * torch.log10(squares.flatten(1).mean(1) + ROUNDING).mean()
