"""Native CPU kernels as PyTorch operators: forward and backward, with shapes for tracing and autograd.

Shape legend: B batch, L tokens, D channels, N states, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops import native
from mambairv2.ops.gradient import attention_gradient, save_attention, save_scan, scan_gradient
from mambairv2.ops.native import pointer, rows

WINDOW = 16
DTYPES = tuple(native.DTYPES)
# Found at import, so that torch.compile meets a constant and no loading of libraries.
_FOUND = native.load()
_REASON = _FOUND if isinstance(_FOUND, str) else None


def unavailable() -> str | None:
    """Return why the kernels cannot run here, or None if they can."""
    return _REASON


def takes_scan(u: Tensor, states: int) -> bool:
    """Return whether the scan of tensors like u, with so many states, can run here."""
    return unavailable() is None and u.dtype in DTYPES and states <= native.MAX_STATES


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Scan as `ops.selective_scan.selective_scan` says, natively; returns y (B, L, D) and the last state."""
    tensors = (u, delta, A, B, C, D, delta_bias) + (() if prompt is None else (prompt,))
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    y, last, _ = _scan(u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus, keep)
    return y, last


def window_attention(qkv: Tensor, bias_table: Tensor, shift: int) -> Tensor:
    """Attend as `ops.window_attention.window_attention` says, natively, for windows of 16."""
    keep = torch.is_grad_enabled() and (qkv.requires_grad or bias_table.requires_grad)
    out: Tensor = _attention(qkv, bias_table, shift, keep)[0]
    return out


@torch.library.custom_op("mambairv2::selective_scan_cpu", mutates_args=(), device_types="cpu")
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y, last, states = _scan_outputs(u, A, keep_states)
    args, _alive = _scan_args(u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus)
    args.y, args.last = y.data_ptr(), last.data_ptr()
    args.states = states.data_ptr() if keep_states else None
    native.call("scan_forward", u.dtype, args)
    return y, last, states


@_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _scan_outputs(u, A, keep_states)


def _scan_outputs(u: Tensor, A: Tensor, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, channels = u.shape
    chunks = (length + native.CHUNK - 1) // native.CHUNK if keep_states else 0
    return (
        u.new_empty(batch, length, channels),
        u.new_empty(batch, channels, A.shape[1]),
        u.new_empty(batch, chunks, A.shape[1], channels),
    )


def _scan_args(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
) -> tuple[native.ScanArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    tensors = (u, delta, A, B, C, D, delta_bias) + (() if prompt is None else (prompt,))
    if u.dtype not in DTYPES or any(t.dtype != u.dtype for t in tensors):
        raise ValueError(f"the native scan takes float32 or float64, one for all; got {[t.dtype for t in tensors]}")
    if A.shape[1] > native.MAX_STATES:
        raise ValueError(f"the native scan takes up to {native.MAX_STATES} states, got {A.shape[1]}")
    u, delta, B, C = rows(u), rows(delta), rows(B), rows(C)
    A, D, delta_bias = A.contiguous(), D.contiguous(), delta_bias.contiguous()
    prompt = None if prompt is None else rows(prompt)
    order = None if order is None else _checked(order)
    args = native.ScanArgs(
        *(pointer(t) for t in (u, delta, A, B, C, D, delta_bias, prompt, order)),
        None,
        None,
        None,
        *u.shape,
        A.shape[1],
        *(t.stride(1) for t in (u, delta, B, C)),
        0 if prompt is None else prompt.stride(1),
        int(delta_softplus),
        torch.get_num_threads(),
    )
    return args, [u, delta, A, B, C, D, delta_bias, prompt, order]


def _checked(order: Tensor) -> Tensor:
    """Return the order contiguous; raises ValueError for tokens that are not there, which C would read all the same."""
    if order.numel():
        low, high = order.aminmax()
        if low < 0 or high >= order.shape[1]:
            raise ValueError(f"order must hold 0 to {order.shape[1] - 1}, got {int(low)} to {int(high)}")
    return order.contiguous()


@torch.library.custom_op("mambairv2::selective_scan_backward_cpu", mutates_args=(), device_types="cpu")
def _scan_backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
    states: Tensor,
) -> list[Tensor]:
    batch, length, channels = u.shape
    blocks = -(-channels // native.width(u.dtype))
    n = A.shape[1]
    forward, _alive = _scan_args(u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus)
    forward.states = states.data_ptr()
    dy = dy.contiguous()
    du, ddelta = (u.new_empty(batch, length, channels) for _ in range(2))
    dB, dC = (u.new_empty(blocks, batch, length, n) for _ in range(2))
    dA, dD, dbias = (u.new_empty(batch, *s) for s in ((channels, n), (channels,), (channels,)))
    outputs = (dy, du, ddelta, dB, dC, dA, dD, dbias)
    native.call("scan_backward", u.dtype, native.ScanGradArgs(forward, *(pointer(t) for t in outputs)))
    return [du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0)]


@_scan_backward.register_fake
def _(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
    prompt: Tensor | None,
    delta_softplus: bool,
    states: Tensor,
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in (u, delta, A, B, C, D, delta_bias)]


_scan.register_autograd(scan_gradient(torch.ops.mambairv2.selective_scan_backward_cpu), setup_context=save_scan)


@torch.library.custom_op("mambairv2::window_attention_cpu", mutates_args=(), device_types="cpu")
def _attention(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    out, lse = _attention_outputs(qkv, bias_table, keep_lse)
    args, _alive = _attention_args(qkv, bias_table, shift)
    args.out, args.lse = out.data_ptr(), lse.data_ptr() if keep_lse else None
    native.call("attention_forward", qkv.dtype, args)
    return out, lse


@_attention.register_fake
def _(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    return _attention_outputs(qkv, bias_table, keep_lse)


def _attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    batch, height, width, channels = qkv.shape
    tokens = height * width if keep_lse else 0
    return qkv.new_empty(batch, height, width, channels // 3), qkv.new_empty(batch, bias_table.shape[1], tokens)


def _attention_args(qkv: Tensor, table: Tensor, shift: int) -> tuple[native.AttentionArgs, list[Tensor]]:
    if qkv.dtype not in DTYPES or table.dtype != qkv.dtype:
        raise ValueError(f"the native attention takes float32 or float64, got {qkv.dtype} and {table.dtype}")
    if table.shape[0] != native.TABLE:
        raise ValueError(f"the native attention takes windows of {WINDOW}, got a table of {table.shape[0]} rows")
    qkv, table = qkv.contiguous(), table.contiguous()
    batch, height, width, channels = qkv.shape
    heads = table.shape[1]
    sizes = (batch, height, width, heads, channels // 3 // heads, shift)
    args = native.AttentionArgs(pointer(qkv), pointer(table), None, None, *sizes, torch.get_num_threads())
    return args, [qkv, table]


@torch.library.custom_op("mambairv2::window_attention_backward_cpu", mutates_args=(), device_types="cpu")
def _attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    forward, alive = _attention_args(qkv, bias_table, shift)
    forward.out, forward.lse = out.data_ptr(), lse.data_ptr()
    dout = dout.contiguous()
    windows = qkv.shape[0] * qkv.shape[1] * qkv.shape[2] // WINDOW**2
    parts = max(1, min(16, windows // 4))
    dqkv = torch.empty_like(alive[0])
    dtable = qkv.new_empty(parts, bias_table.shape[1], native.TABLE)
    args = native.AttentionGradArgs(forward, pointer(dout), pointer(dqkv), pointer(dtable), parts)
    native.call("attention_backward", qkv.dtype, args)
    return dqkv, dtable.sum(0).T.contiguous()


@_attention_backward.register_fake
def _(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), bias_table.new_empty(bias_table.shape)


_attention.register_autograd(
    attention_gradient(torch.ops.mambairv2.window_attention_backward_cpu), setup_context=save_attention
)
