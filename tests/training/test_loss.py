"""The losses by hand."""

import math

import pytest
import torch

from mambairv2.training.loss import ROUNDING, loss_of
from mambairv2.training.recipe import TrainPart


def test_losses_by_hand():
    output, target = torch.tensor([3.0, 0.0]), torch.zeros(2)
    assert loss_of(TrainPart(iterations=1), output, target) == pytest.approx(1.5)
    smooth = TrainPart(iterations=1, loss="charbonnier", charbonnier_eps=4)
    assert loss_of(smooth, output, target) == pytest.approx((5 + 4) / 2)
    assert loss_of(TrainPart(iterations=1, loss="mse"), output, target) == pytest.approx(4.5)


def test_psnr_as_a_loss_is_in_decibels_and_every_patch_counts_alike():
    psnr = TrainPart(iterations=1, loss="psnr")
    output = torch.zeros(2, 3, 4, 4)
    output[0], output[1] = 0.1, 0.001
    assert loss_of(psnr, output, torch.zeros(2, 3, 4, 4)) == pytest.approx(-(20 + 56.42) / 2, abs=0.01)
    output.requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(psnr, output, torch.zeros(2, 3, 4, 4)), output)
    shares = (slope * output).flatten(1).sum(1).tolist()  # what a step by the same share gains
    assert shares == pytest.approx([10 / math.log(10), 10 / math.log(10) * 1e-6 / (1e-6 + ROUNDING)], rel=1e-3)


def test_psnr_of_a_patch_without_error_is_finite():
    image = torch.rand(2, 3, 4, 4, requires_grad=True)
    loss = loss_of(TrainPart(iterations=1, loss="psnr"), image, image.detach())
    assert loss.item() == pytest.approx(-58.92, abs=0.01)
    assert torch.autograd.grad(loss, image)[0].abs().max() == 0
