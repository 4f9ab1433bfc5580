"""The native operators keep what torch.library asks of them: schemas, fake tensors, autograd, tracing."""

from __future__ import annotations

import pytest
import torch

# Modules that register the operators which are checked.
from mambairv2.ops.attention import window_attention  # noqa: F401
from mambairv2.ops.dense import linear  # noqa: F401
from mambairv2.ops.library import loader
from mambairv2.ops.scan import selective_scan  # noqa: F401

native = pytest.mark.skipif(loader.unavailable() is not None, reason=f"no native kernels: {loader.unavailable()}")


def real(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def scan_inputs(routed: bool, softplus: bool) -> list[object]:
    batch, length, channels, states = 2, 37, 5, 3
    order = torch.stack([torch.randperm(length) for _ in range(batch)]) if routed else None
    A = (-torch.rand(channels, states)).requires_grad_()
    u, delta = real(batch, length, channels), real(batch, length, channels)
    B, C = real(batch, length, states), real(batch, length, states)
    prompt = real(batch, length, states) if routed else None
    return [u, delta, A, B, C, real(channels), real(channels), order, prompt, softplus]


def detached(values: list[object]) -> list[object]:
    return [v.detach() if isinstance(v, torch.Tensor) else v for v in values]


@native
@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("routed", [True, False])
def test_scan(routed, softplus):
    inputs = scan_inputs(routed, softplus)
    torch.library.opcheck(torch.ops.mambairv2.selective_scan_native, (*inputs, True))
    torch.library.opcheck(torch.ops.mambairv2.selective_scan_native, (*detached(inputs), False))


@native
@pytest.mark.parametrize("routed", [True, False])
def test_scan_backward(routed):
    inputs = detached(scan_inputs(routed, True))
    y, _, states = torch.ops.mambairv2.selective_scan_native(*inputs, True)
    backward = torch.ops.mambairv2.selective_scan_backward_native
    torch.library.opcheck(backward, (torch.randn_like(y), *inputs, states))


@native
@pytest.mark.parametrize("shift", [0, 8])
def test_attention(shift):
    qkv, table = real(1, 32, 16, 3 * 2 * 5), real(31 * 31, 2)
    forward = torch.ops.mambairv2.window_attention_native
    torch.library.opcheck(forward, (qkv, table, shift, True))
    torch.library.opcheck(forward, (qkv.detach(), table.detach(), shift, False))
    out, lse = forward(qkv.detach(), table.detach(), shift, True)
    inputs = (torch.randn_like(out), qkv.detach(), table.detach(), shift, out, lse)
    torch.library.opcheck(torch.ops.mambairv2.window_attention_backward_native, inputs)


@native
@pytest.mark.parametrize("full", [True, False])
def test_linear(full):
    x, weight, bias = real(70, 5), real(9, 5), real(9)
    extra = [real(5), real(5), real(70, 9), real(70, 9), real(9)] if full else [None] * 5
    inputs = [x, weight, bias if full else None, *extra, 1e-5, full, False]
    torch.library.opcheck(torch.ops.mambairv2.linear_native, inputs)
    given = [torch.randn(70, 9), *detached(inputs)]
    torch.library.opcheck(torch.ops.mambairv2.linear_backward_native, given)
