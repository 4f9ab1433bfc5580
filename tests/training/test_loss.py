"""The losses by hand."""

import pytest
import torch

from mambairv2.training.loss import loss_of
from mambairv2.training.recipe import TrainPart


def test_losses_by_hand():
    output, target = torch.tensor([3.0, 0.0]), torch.zeros(2)
    assert loss_of(TrainPart(iterations=1), output, target) == pytest.approx(1.5)
    smooth = TrainPart(iterations=1, loss="charbonnier", charbonnier_eps=4)
    assert loss_of(smooth, output, target) == pytest.approx((5 + 4) / 2)
    assert loss_of(TrainPart(iterations=1, loss="mse"), output, target) == pytest.approx(4.5)
