"""Routing by the native kernels is torch's, ties and all; noise and the prompts drawn by it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.ops.library import loader
from mambairv2.ops.routing import noise
from mambairv2.ops.routing import prompts as routing

pytestmark = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 1500), st.integers(1, 130), st.integers(0, 2**31), st.booleans())
def test_as_torch(batch, length, prompts, seed, double):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, length, prompts, generator=generator).to(torch.float64 if double else torch.float32)
    logits = (logits * 4).round() / 4  # many equal values
    label = routing.likeliest_prompt(logits)
    assert torch.equal(label, logits.argmax(-1))
    assert torch.equal(routing.neighbour_order(label, prompts), label.argsort(dim=1, stable=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(dtype):
    logits = torch.randn(2, 20, 7, dtype=dtype)
    torch.library.opcheck(torch.ops.mambairv2.likeliest_prompt_native, (logits,))
    torch.library.opcheck(torch.ops.mambairv2.sort_by_label_native, (logits.argmax(-1), 7))
    torch.library.opcheck(torch.ops.mambairv2.exponential_noise_native, (torch.tensor([3, -4]), 21, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_the_same_in_plain_torch(monkeypatch, dtype):
    seeds = torch.tensor([0, 1, -(2**63), 2**63 - 1, 123456789])
    found = noise.exponential(seeds, 20011, dtype)
    monkeypatch.setattr(loader, "unavailable", lambda: "for the test")
    expected = noise.exponential(seeds, 20011, torch.float64)
    assert ((found - expected).abs() <= (2e-6 if dtype == torch.float32 else 1e-15) * expected).all()
    assert torch.equal(noise.exponential(seeds[3:4], 77, dtype), expected[3:4, :77].to(dtype))


def test_noise_is_exponential():
    drawn = noise.exponential(torch.arange(8), 1 << 17, torch.float32).double()
    quantiles = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    assert (torch.quantile(drawn[0], quantiles) + torch.log1p(-quantiles)).abs().max() < 0.15
    assert (drawn.mean(1) - 1).abs().max() < 0.015
    assert (drawn.var(1) - 1).abs().max() < 0.04
    assert torch.corrcoef(drawn).fill_diagonal_(0).abs().max() < 0.015
    following = torch.stack([drawn[:, 1:].flatten(), drawn[:, :-1].flatten()])
    assert torch.corrcoef(following)[0, 1].abs() < 0.005
    assert drawn.min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(600, 64, 8, 1.0), (37, 7, 5, 0.5), (9, 130, 33, 2.0)])
def test_prompts_drawn_as_in_torch(dtype, sizes):
    length, prompts, width, temperature = sizes
    logits = torch.randn(2, length, prompts, dtype=dtype).mul_(3).requires_grad_()
    pool = torch.randn(prompts, width, dtype=dtype, requires_grad=True)
    drawn = torch.empty_like(logits).exponential_()
    results = []
    for backend in ("torch", "native"):
        label, prompt = routing.draw_prompt(logits, drawn, pool, temperature, backend=backend)
        weight = torch.linspace(-1, 2, prompt.numel(), dtype=dtype).view_as(prompt)
        results.append((label, prompt, *torch.autograd.grad((prompt * weight).sum(), (logits, pool))))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.equal(results[0][0], results[1][0])
    for expected, found in zip(results[0][1:], results[1][1:], strict=True):
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("kept", [True, False])
def test_opcheck_of_drawing(kept):
    logits, pool = torch.randn(2, 20, 7, requires_grad=kept), torch.randn(7, 5, requires_grad=kept)
    drawn = torch.empty(2, 20, 7).exponential_()
    torch.library.opcheck(torch.ops.mambairv2.draw_prompt_native, (logits, drawn, pool, 0.7, kept))
    if kept:
        prompt, label, soft = torch.ops.mambairv2.draw_prompt_native(logits.detach(), drawn, pool.detach(), 0.7, True)
        backward = torch.ops.mambairv2.draw_prompt_backward_native
        torch.library.opcheck(backward, (torch.randn_like(prompt), label, soft, pool.detach(), 0.7))
