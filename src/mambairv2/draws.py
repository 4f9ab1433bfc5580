"""Random draws of the network: from torch's own generator, from one given, or from one an image.

Shape legend: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None


def check_generators(generators: Generators, batch: int) -> None:
    """Raise ValueError for a sequence of generators that is not one for each of `batch` images."""
    if isinstance(generators, Sequence) and len(generators) != batch:
        raise ValueError(f"expected one generator for each of {batch} images, got {len(generators)}")


def gumbel_like(logits: Tensor, generators: Generators) -> Tensor:
    """Draw standard Gumbel noise of the shape, dtype and device of logits (B, ...).

    With a sequence, image i takes all of its noise from generators[i], whatever batch it is in.
    """
    noise = torch.empty_like(logits)
    if isinstance(generators, Sequence):
        check_generators(generators, len(logits))
        for image, generator in zip(noise, generators, strict=True):
            image.exponential_(generator=generator)
    else:
        noise.exponential_(generator=generators)
    return -noise.log()


def repeatable(
    layer: Callable[[Tensor, Generators], Tensor], generators: Generators
) -> Callable[[Tensor], Tensor]:
    """Return layer as a function of its tensor that, when run again, draws what it drew at first.

    Activation checkpointing restores torch's own generators before it runs a layer again, not given ones.
    """
    if generators is None:
        return lambda x: layer(x, None)
    given = list(generators) if isinstance(generators, Sequence) else [generators]
    first: list[Tensor] = []

    def run(x: Tensor) -> Tensor:
        if not first:
            first.extend(generator.get_state() for generator in given)
            return layer(x, generators)
        now = [generator.get_state() for generator in given]
        _restore(given, first)
        try:
            return layer(x, generators)
        finally:
            _restore(given, now)

    return run


def _restore(generators: Sequence[torch.Generator], states: Sequence[Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
