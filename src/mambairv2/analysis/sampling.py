"""The likeliest prompt against drawn ones, and prompts in image order against prompts sorted with their tokens."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from mambairv2.network.config import PromptOrder
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.channels import restore_channels

Restore = Callable[[Tensor], Tensor]
"""(C, h, w) to (C, h·s, w·s), float32 around [0, 1]."""


@dataclass(frozen=True)
class Sampled:
    """Figures of one order of prompts and one way of choosing them."""

    order: PromptOrder
    seeds: int
    """0 for the likeliest prompt, else the number of seeds it was drawn with."""
    values: tuple[float, ...]
    """One figure for each seed, such as the PSNR of a test set; a single one for the likeliest."""

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.values)

    @property
    def spread(self) -> float:
        """The standard deviation over seeds; 0 for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def compare(model: MambaIRv2, measured: Callable[[Restore], float], seeds: int) -> list[Sampled]:
    """Measure the same weights in each order of prompts, with the likeliest and with drawn prompts.

    measured: returns the figure of a way to restore, such as the PSNR of a test set. Without semantic neighbouring
    there is one order only.
    """
    found = []
    orders: tuple[PromptOrder, ...] = get_args(PromptOrder) if model.config.semantic_neighbouring else ("image",)
    for order in orders:
        network = reordered(model, order)
        found.append(Sampled(order, 0, (measured(_restoring(network, None)),)))
        if seeds:
            found.append(Sampled(order, seeds, tuple(measured(_restoring(network, seed)) for seed in range(seeds))))
    return found


def reordered(model: MambaIRv2, order: PromptOrder) -> MambaIRv2:
    """Return a network of the same weights with prompts in another order."""
    other = MambaIRv2(replace(model.config, prompt_order=order)).to(next(model.parameters()).device)
    other.load_state_dict(model.state_dict())
    return other.eval()


def _restoring(model: MambaIRv2, seed: int | None) -> Restore:
    """Return how a network restores: by the likeliest prompts, or drawn with a seed, the same draws for each image."""
    device, config = next(model.parameters()).device, model.config

    @torch.inference_mode()
    def restore(image: Tensor) -> Tensor:
        def network(batch: Tensor) -> Tensor:
            return model(batch, None if seed is None else torch.Generator(device).manual_seed(seed))

        return restore_channels(network, config.in_channels, config.upscale, image[None].to(device))[0].float().cpu()

    return restore
