"""A network without values has the shapes of the real one, and is made without loading half of PyTorch."""

from dataclasses import replace

import pytest
import torch

from mambairv2.network.config import VARIANTS, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.blueprint import blueprint
from run_python import run_python
from small_weights import SMALL


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("changes", [{}, {"scan_directions": 4}, {"attentive_scan": False}, {"ffn": "conv"}], ids=str)
def test_it_has_the_shapes_of_the_network(changes):
    config = replace(SMALL, **changes)
    made = blueprint(config, MambaIRv2)
    assert shapes(made) == shapes(MambaIRv2(config))
    assert all(tensor.is_meta for tensor in made.state_dict().values())


@pytest.mark.parametrize("name", VARIANTS)
def test_random_numbers_are_not_drawn(name):
    before = torch.get_rng_state()
    blueprint(variant(name), MambaIRv2)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_weights_does_not_load_what_compiles():
    """torch.fx and sympy come with the functions of the meta device."""
    code = "import sys, torch; from mambairv2 import load_model; load_model('sr-x2'); print(*sys.modules)"
    loaded = run_python(code).split()
    usual = run_python("import sys, torch; print(*sys.modules)").split()
    assert {"sympy", "triton", "torch._inductor"} & {*loaded} <= {*usual}
    assert len(loaded) < len(usual) + 200
