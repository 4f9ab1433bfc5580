"""A small network from end to end, as something to check: the likeliest prompts, and drawn ones."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.ops.self_check.cases import TOGETHER, Parts
from mambairv2.ops.self_check.comparison import Case, Values

SEED = 25
"""One for which no token is close to another prompt, so that rounding changes no choice."""
CONFIG = MambaIRv2Config(embed_dim=8, d_state=2, depths=(2,), num_heads=(2,), inner_rank=2, num_tokens=4)
BACKENDS: dict[str, Parts] = {"reference": ("reference", "reference", "torch"), **TOGETHER}


def network_cases() -> list[Case]:
    """Return the network, with a plain and a shifted window, as published and with random draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = MambaIRv2(CONFIG).eval()
        image = torch.rand(1, 3, 16, 17)
    values = {"image": image, **{name: p.detach() for name, p in model.named_parameters()}}
    return [Case("network", tuple(BACKENDS), values, partial(_run, model, draws)) for draws in (False, True)]


def _run(model: MambaIRv2, draws: bool, values: Values, backend: str) -> tuple[Tensor, ...]:
    model.set_backend(*BACKENDS[backend])
    parameters = {name: value for name, value in values.items() if name != "image"}
    generators = [torch.Generator().manual_seed(0)] if draws else None
    return (functional_call(model, parameters, (values["image"], generators)),)
