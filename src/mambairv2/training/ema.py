"""TODO training.ema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mambairv2.network.model import MambaIRv2
from mambairv2.training.state import State


@contextmanager
def averaged(state: State) -> Iterator[MambaIRv2]:
    """Lend the network with its averaged weights, in evaluation mode."""
    _swap_weights(state)
    try:
        yield state.network.eval()
    finally:
        _swap_weights(state)
        state.network.train()


def _swap_weights(state: State) -> None:
    for name, parameter in state.network.named_parameters():
        parameter.data, state.ema[name] = state.ema[name], parameter.data
