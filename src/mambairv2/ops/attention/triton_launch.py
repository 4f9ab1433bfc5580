"""Launching the attention's Triton kernels: buffers, grids and block sizes. Importing this needs triton."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.attention import triton_kernels
from mambairv2.ops.attention.triton_buffers import attention_outputs
from mambairv2.ops.triton_support import FUSED, INTERPRETED, PROGRAMS, WINDOW


def _attention_sizes(qkv: Tensor, heads: int, shift: int) -> tuple[list[float], dict[str, int | str], int]:
    """Return what every attention kernel takes, sizes of the image and of blocks, and the blocks of a window."""
    _, height, width, channels = qkv.shape
    dim = channels // 3 // heads
    # Exact products of float32 unless the user has asked torch for less; these take many registers.
    exact = qkv.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    block = 32 if qkv.dtype == torch.float32 else 64
    if INTERPRETED:  # one program at a time, however large
        block = 128
    numbers = [height, width, heads, shift, dim**-0.5 * 1.4426950408889634]
    pad = max(16, triton.next_power_of_2(dim))
    sizes = {"DIM": dim, "PAD": pad, "BLOCK": block, "PRECISION": "ieee" if exact else "tf32"}
    return numbers, sizes | {"num_warps": 8 if pad > 32 else 4, **FUSED}, WINDOW**2 // block


def attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Return the output (B, H, W, E), and log2 of each softmax's sum (B, windows, heads, 256) if asked."""
    out, lse = attention_outputs(qkv, bias_table, keep_lse)
    qkv, table, heads = qkv.contiguous(), bias_table.T.contiguous(), bias_table.shape[1]
    numbers, sizes, blocks = _attention_sizes(qkv, heads, shift)
    windows = out.shape[0] * out.shape[1] * out.shape[2] // WINDOW**2
    if out.numel():
        given = lse if keep_lse else None
        triton_kernels.forward[(windows, heads, blocks)](qkv, table, out, given, *numbers, **sizes)
    return out, lse


def attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of qkv and of the bias table."""
    qkv, table, heads = qkv.contiguous(), bias_table.T.contiguous(), bias_table.shape[1]
    dqkv = torch.empty_like(qkv)
    windows = qkv.shape[0] * qkv.shape[1] * qkv.shape[2] // WINDOW**2
    if not qkv.numel():
        return dqkv, torch.zeros_like(bias_table)
    numbers, sizes, blocks = _attention_sizes(qkv, heads, shift)
    tensors = (qkv, table, out, dout.contiguous(), lse)
    triton_kernels.key_gradients[(windows, heads, blocks)](*tensors, dqkv, *numbers, **sizes)
    triton_kernels.query_gradients[(windows, heads, blocks)](*tensors, dqkv, *numbers, **sizes)
    parts = max(1, min(windows, PROGRAMS // (heads * blocks**2)))
    dbias = qkv.new_empty(parts, heads, WINDOW**2, WINDOW**2, dtype=torch.float32)
    triton_kernels.bias_gradients[(parts, heads, blocks**2)](*tensors, dbias, windows, *numbers, **sizes)
    return dqkv, by_relative_position(dbias.sum(0)).T.to(bias_table.dtype).contiguous()


def by_relative_position(pairs: Tensor) -> Tensor:
    """Sum (heads, n, n) over the pairs of each relative position: (heads, 961), always in the same order."""
    m = WINDOW
    by_axis = pairs.view(-1, m, m, m, m).permute(0, 1, 3, 2, 4)  # (heads, y, y', x, x')
    for _ in range(2):  # the last axis, then the one before, which the sum brings to the end
        by_axis = _diagonals(by_axis).movedim(-1, 1)
    return by_axis.reshape(-1, (2 * m - 1) ** 2)


def _diagonals(x: Tensor) -> Tensor:
    """Sum (..., m, m) over its diagonals i - j = const, from -(m-1): (..., 2m-1)."""
    m = x.shape[-1]
    flat = F.pad(x.flip(-1), (0, m)).flatten(-2)  # row i, of 2m, then read in rows of 2m-1: moved by i
    return flat[..., : m * (2 * m - 1)].unflatten(-1, (m, 2 * m - 1)).sum(-2)
