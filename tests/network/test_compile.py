"""torch.compile and torch.export take the whole network as one graph and give the same numbers."""

from __future__ import annotations

import shutil

import pytest
import torch

from mambairv2 import MambaIRv2, MambaIRv2Config

TINY = MambaIRv2Config(embed_dim=12, d_state=4, depths=(2,), num_heads=(2,), inner_rank=4, num_tokens=6)
PLAIN = pytest.param(("chunked", "sdpa"), id="plain")
BACKENDS = [pytest.param(("auto", "auto"), id="auto"), PLAIN]
SLOW_PLAIN = [BACKENDS[0], pytest.param(*PLAIN.values, id="plain", marks=pytest.mark.slow)]


@pytest.fixture
def model() -> MambaIRv2:
    torch.compiler.reset()
    net = MambaIRv2.from_config(TINY).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return net


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * b.abs().max())


@pytest.mark.parametrize("backends", BACKENDS)
def test_compiles_as_one_graph(model, backends):
    model.set_backend(*backends)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        image = torch.rand(1, 3, 19, 13)
        assert close(compiled(image), model(image))


def test_compiles_for_other_sizes(model):
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for size in ((16, 16), (19, 21), (33, 16)):
            image = torch.rand(1, 3, *size)
            assert close(compiled(image), model(image))


@pytest.mark.parametrize("backends", SLOW_PLAIN)
def test_gradients_through_a_compiled_network(model, backends):
    model.set_backend(*backends)
    image = torch.rand(1, 3, 16, 16)
    gradients = []
    for network in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        network(image).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    assert all(close(b, a) for a, b in zip(*gradients, strict=True) if a.abs().max() > 0)


@pytest.mark.parametrize("backends", BACKENDS)
def test_exports(model, backends):
    model.set_backend(*backends)
    image = torch.rand(1, 3, 19, 21)
    with torch.no_grad():
        program = torch.export.export(model, (image,))
        assert close(program.module()(image), model(image))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiles_with_inductor(model):
    image = torch.rand(1, 3, 19, 21)
    with torch.no_grad():
        assert close(torch.compile(model, fullgraph=True)(image), model(image))
