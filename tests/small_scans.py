"""Networks of three small attentive scans whose routing is known, or at least varied."""

import torch

from mambairv2.analysis.recording import scans_of
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2

TINY = {"embed_dim": 12, "d_state": 3, "depths": (1, 2), "num_heads": (2, 2), "inner_rank": 3, "num_tokens": 6}


def network(**changes):
    """A network whose tokens take several prompts."""
    model = MambaIRv2(MambaIRv2Config(**{**TINY, "window_size": 8, **changes})).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.mul_(20)  # so that tokens differ in their prompts
    return model


def choosing(number):
    """A network that gives every token one prompt."""
    model = network()
    with torch.no_grad():
        for module in scans_of(model).values():
            module.route[2].bias[number] = 1000
    return model
