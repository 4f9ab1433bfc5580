"""Triton kernels as PyTorch operators: forward and backward, with shapes for tracing and autograd.

Triton itself is imported when a kernel first runs. Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Tensor

from mambairv2.ops.gradient import attention_gradient, save_attention, save_scan, scan_gradient

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WINDOW = 16
MAX_STATES = 64
MAX_HEAD_DIM = 64
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def _reason() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton (Linux)"
    if INTERPRETED:
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler; install gcc or clang, or set CC"
    return None


# Found at import, so that torch.compile meets a constant; without a look at the GPUs, which would open the driver.
_REASON = _reason()


def unavailable() -> str | None:
    """Return why the kernels cannot run on a GPU of this machine, if it has one; None if they can."""
    return _REASON


def runs_on(device: torch.device) -> bool:
    """Return whether this is a device for the kernels: a GPU, or the CPU in Triton's interpreter."""
    return device.type == "cuda" or (INTERPRETED and device.type == "cpu")


def takes_scan(u: Tensor, states: int) -> bool:
    """Return whether the scan of tensors like u, with so many states, can run here."""
    return unavailable() is None and u.dtype in DTYPES and states <= MAX_STATES


def takes_attention(qkv: Tensor, window: int, heads: int) -> bool:
    """Return whether the attention of tensors like qkv can run here."""
    fits = window == WINDOW and qkv.shape[3] // 3 // heads <= MAX_HEAD_DIM
    return unavailable() is None and qkv.dtype in DTYPES and fits


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
    """Scan as `ops.selective_scan.selective_scan` says; computed in float32, y and the last state like u."""
    tensors = (u, delta, A, B, C, D, delta_bias) + (() if prompt is None else (prompt,))
    if any(t.dtype not in DTYPES for t in tensors):
        raise ValueError(f"the Triton scan takes float32, bfloat16, float16; got {[t.dtype for t in tensors]}")
    if A.shape[1] > MAX_STATES:
        raise ValueError(f"the Triton scan takes up to {MAX_STATES} states, got {A.shape[1]}")
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    y, last, _ = _scan(u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus, keep)
    return y, last


def tile_of(states: int) -> int:
    """Return T, the tokens of one tile: fewer where there are many states, to stay in registers."""
    return max(4, min(16, 256 // states))


@torch.library.custom_op("mambairv2::selective_scan_triton", mutates_args=())
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
    from mambairv2.ops import triton_launch

    return triton_launch.scan_forward(
        u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus, keep_states
    )


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
    return scan_outputs(u, A, keep_states)


def scan_outputs(u: Tensor, A: Tensor, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y (B, L, D), the last state (B, D, N), and states before tiles (B, L/T, D, N), none unless kept."""
    batch, length, channels = u.shape
    states = A.shape[1]
    tile = tile_of(states)
    tiles = (length + tile - 1) // tile if keep_states else 0
    return (
        u.new_empty(batch, length, channels),
        u.new_empty(batch, channels, states),
        u.new_empty(batch, tiles, channels, states, dtype=torch.float32),
    )


@torch.library.custom_op("mambairv2::selective_scan_backward_triton", mutates_args=())
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
    from mambairv2.ops import triton_launch

    return triton_launch.scan_backward(
        dy, u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus, states
    )


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


_scan.register_autograd(
    scan_gradient(torch.ops.mambairv2.selective_scan_backward_triton), setup_context=save_scan
)


def window_attention(qkv: Tensor, bias_table: Tensor, shift: int) -> Tensor:
    """Attend as `ops.window_attention.window_attention` says, for windows of 16; sums in float32."""
    heads = bias_table.shape[1]
    if qkv.dtype not in DTYPES:
        raise ValueError(f"the Triton attention takes float32, bfloat16, float16; got {qkv.dtype}")
    if bias_table.shape[0] != (2 * WINDOW - 1) ** 2 or qkv.shape[3] // 3 // heads > MAX_HEAD_DIM:
        raise ValueError(
            f"the Triton attention takes windows of {WINDOW} and heads of up to {MAX_HEAD_DIM} channels, "
            f"got qkv {tuple(qkv.shape)} and a table of {tuple(bias_table.shape)}"
        )
    keep = torch.is_grad_enabled() and (qkv.requires_grad or bias_table.requires_grad)
    out: Tensor = _attention(qkv, bias_table, shift, keep)[0]
    return out


@torch.library.custom_op("mambairv2::window_attention_triton", mutates_args=())
def _attention(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.attention_forward(qkv, bias_table, shift, keep_lse)


@_attention.register_fake
def _(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    return attention_outputs(qkv, bias_table, keep_lse)


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum, (B, windows, heads, 256) if kept."""
    batch, height, width, channels = qkv.shape
    windows = height * width // WINDOW**2 if keep_lse else 0
    return (
        qkv.new_empty(batch, height, width, channels // 3),
        qkv.new_empty(batch, windows, bias_table.shape[1], WINDOW**2, dtype=torch.float32),
    )


@torch.library.custom_op("mambairv2::window_attention_backward_triton", mutates_args=())
def _attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.attention_backward(dout, qkv, bias_table, shift, out, lse)


@_attention_backward.register_fake
def _(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), bias_table.new_empty(bias_table.shape)


_attention.register_autograd(
    attention_gradient(torch.ops.mambairv2.window_attention_backward_triton), setup_context=save_attention
)
