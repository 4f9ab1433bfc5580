"""Exponential moving average (EMA) of the weights: what is validated and saved is smoother than the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Averages = dict[str, Tensor]
"""One average for each parameter, by its name and in the order of `named_parameters`."""


def start_averages(network: nn.Module) -> Averages:
    """Return averages that begin as copies of the network's parameters."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def update_averages(averages: Averages, network: nn.Module, decay: float, iteration: int) -> None:
    """Move the averages towards the parameters, in place: average ← d · average + (1 − d) · parameter.

    d is `decay`, but at most (1 + iteration) / (10 + iteration): the first steps, whose weights are soon out of date,
    are forgotten faster.
    """
    decay = min(decay, (1 + iteration) / (10 + iteration))
    parameters = [parameter.detach() for parameter in network.parameters()]
    torch._foreach_lerp_(list(averages.values()), parameters, 1 - decay)


@contextmanager
def averaged(network: nn.Module, averages: Averages) -> Iterator[None]:
    """Give the network its averaged weights and set it to evaluation; afterwards it trains on with its own.

    The tensors are exchanged, not copied.
    """
    _exchange(network, averages)
    try:
        network.eval()
        yield
    finally:
        _exchange(network, averages)
        network.train()


def _exchange(network: nn.Module, averages: Averages) -> None:
    for name, parameter in network.named_parameters():
        parameter.data, averages[name] = averages[name], parameter.data
