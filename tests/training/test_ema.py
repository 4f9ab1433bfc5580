"""The exponential moving average of the weights, by hand."""

import pytest
import torch
from torch import nn

from mambairv2.training.ema import averaged, start_averages, update_averages


@pytest.fixture
def network():
    network = nn.Linear(1, 1, bias=False).train()
    nn.init.constant_(network.weight, 2.0)
    return network


def test_an_update_by_hand(network):
    averages = start_averages(network)
    nn.init.constant_(network.weight, 4.0)
    update_averages(averages, network, decay=0.75, iteration=1000)
    assert averages["weight"].item() == 0.75 * 2 + 0.25 * 4
    assert network.weight.item() == 4


def test_the_first_steps_are_forgotten_faster(network):
    averages = start_averages(network)
    nn.init.constant_(network.weight, 4.0)
    update_averages(averages, network, decay=0.999, iteration=0)
    assert averages["weight"].item() == pytest.approx(0.1 * 2 + 0.9 * 4)


def test_the_averages_are_lent_and_given_back(network):
    averages = {"weight": torch.tensor([[7.0]])}
    with averaged(network, averages):
        assert network.weight.item() == 7
        assert not network.training
    assert network.weight.item() == 2
    assert averages["weight"].item() == 7
    assert network.training
