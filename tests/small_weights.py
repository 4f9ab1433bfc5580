"""Networks that are small enough to save and load in no time."""

import torch

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import save_model

SMALL = MambaIRv2Config(
    embed_dim=12, d_state=3, depths=(1, 2), num_heads=(2, 3), inner_rank=4, num_tokens=5, ffn_kernel_size=3
)
"""Two groups of unlike depth, with the usual head."""


def save_tiny(path, **changes):
    """Save a seeded network of one layer that restores in milliseconds."""
    torch.manual_seed(0)
    fields = {"embed_dim": 8, "d_state": 4, "depths": (1,), "num_heads": (2,), "inner_rank": 4, "num_tokens": 8}
    save_model(MambaIRv2(MambaIRv2Config(**{**fields, **changes})), path)
    return path


def same(found, expected):
    """Assert that a network that was loaded is the one that was saved."""
    assert found.config == expected.config
    assert not found.training
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
        assert found.get_parameter(name).requires_grad, name
