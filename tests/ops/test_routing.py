"""Routing by the native kernels is torch's, ties and all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.ops import cpu, routing

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason=str(cpu.unavailable()))


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
    torch.library.opcheck(torch.ops.mambairv2.likeliest_prompt_cpu, (logits,))
    torch.library.opcheck(torch.ops.mambairv2.sort_by_label_cpu, (logits.argmax(-1), 7))
