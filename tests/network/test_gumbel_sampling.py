"""Prompts drawn in training: what an image draws, and that recomputing a layer draws the same."""

from __future__ import annotations

import pytest
import torch

from mambairv2 import MambaIRv2, MambaIRv2Config

TINY = MambaIRv2Config(embed_dim=12, d_state=4, depths=(2,), num_heads=(2,), inner_rank=4, num_tokens=6)


@pytest.fixture
def model() -> MambaIRv2:
    net = MambaIRv2.from_config(TINY).double().train()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return net


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_an_image_draws_the_same_in_any_batch(model):
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    together = model(images, generators(1, 2, 3))
    apart = [model(images[i : i + 1], generators(i + 1)) for i in range(3)]
    assert (together - torch.cat(apart)).abs().max() <= 1e-12
    assert (together - model(images, generators(4, 5, 6))).abs().max() > 1e-6


def test_one_generator_draws_for_the_whole_batch(model):
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.manual_seed(7)
    assert torch.equal(model(images), model(images, generators(7)[0]))


def test_a_generator_for_each_image(model):
    with pytest.raises(ValueError, match="each of 2 images, got 3"):
        model(torch.rand(2, 3, 16, 16, dtype=torch.float64), generators(1, 2, 3))


@pytest.mark.parametrize("many", [False, True])
def test_checkpointing_draws_the_same_again(model, many):
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)

    def step(checkpointing: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        drawn = generators(1, 2) if many else generators(1)
        model.set_checkpointing(checkpointing).zero_grad()
        model(images, drawn if many else drawn[0]).square().sum().backward()
        return [p.grad for p in model.parameters()], [g.get_state() for g in drawn]

    (plain, plain_state), (again, again_state) = step(False), step(True)
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(plain, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain_state, again_state, strict=True))
