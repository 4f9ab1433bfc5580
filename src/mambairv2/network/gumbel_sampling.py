"""Random draws of the network: from torch's own generator, from one given, or from one an image.

Shape legend: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mambairv2.ops.backend_choice import DenseBackend
from mambairv2.ops.routing.noise import exponential

Generators = torch.Generator | Sequence[torch.Generator] | None


def check_generators(generators: Generators, batch: int) -> None:
    """Raise ValueError for a sequence of generators that is not one for each of `batch` images."""
    if isinstance(generators, Sequence) and len(generators) != batch:
        raise ValueError(f"expected one generator for each of {batch} images, got {len(generators)}")


def exponential_like(logits: Tensor, generators: Generators, *, backend: DenseBackend = "auto") -> Tensor:
    """Draw standard exponential noise of the shape and device of logits (B, ...), in float32 at least.

    With one generator, or torch's own, as the published code draws it. With a sequence, image i draws a seed for all
    of its noise from generators[i]: the same in any batch, and an eighth of the time on a CPU.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if not isinstance(generators, Sequence):
        return torch.empty_like(logits, dtype=dtype).exponential_(generator=generators)
    check_generators(generators, len(logits))
    seeds = torch.stack([torch.randint(-(2**63), 2**63 - 1, (), generator=g, device=g.device) for g in generators])
    return exponential(seeds.to(logits.device), logits[0].numel(), dtype, backend=backend).view(logits.shape)


def repeatable(layer: Callable[[Tensor, Generators], Tensor], generators: Generators) -> Callable[[Tensor], Tensor]:
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
