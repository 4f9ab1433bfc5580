"""Launching the Triton kernels: buffers, grids and block sizes. Importing this needs triton.

Shape legend: B batch, L tokens, D channels, N states, T tokens of a tile, R runs.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import triton_attention, triton_scan, triton_scan_backward
from mambairv2.ops.gpu import INTERPRETED, WINDOW, attention_outputs, scan_outputs, tile_of
from mambairv2.ops.operators import Scan

# Programs wanted at once: a few for each processor of a large GPU; the same on any, so that sums are too.
PROGRAMS = 1024
SHORTEST_RUN = 4  # tiles
FUSED = {"enable_fp_fusion": True}  # said, since Triton warns where it is not


def _scan_sizes(scan: Scan) -> tuple[dict[str, int], int, int, int]:
    """Return the block sizes, blocks of channels, tiles, and tiles of a run."""
    batch, length, channels = scan.u.shape
    states = scan.A.shape[1]
    block_d = min(16, triton.next_power_of_2(channels))
    block_n = triton.next_power_of_2(states)
    tile = tile_of(states)
    blocks, tiles = triton.cdiv(channels, block_d), triton.cdiv(length, tile)
    runs = max(1, min(PROGRAMS // max(1, batch * blocks), tiles // SHORTEST_RUN))
    sizes = {"TILE": tile, "BLOCK_D": block_d, "BLOCK_N": block_n, **FUSED}
    sizes["num_warps"] = max(1, min(8, block_d * block_n // 32))
    return sizes, blocks, tiles, triton.cdiv(tiles, runs)


def scan_forward(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return y (B, L, D), the last state (B, D, N), and states before each tile (B, L/T, D, N) if asked."""
    y, last, states = scan_outputs(scan, keep_states)
    if y.numel() == 0:
        return y, last.zero_(), states
    scan = scan.laid_out()
    sizes, blocks, tiles, per_run = _scan_sizes(scan)
    runs = triton.cdiv(tiles, per_run)
    right = (scan.B, scan.B.stride(1), None, 0)
    starts = _run_starts(scan, scan.u, scan.u.stride(1), right, reverse=False) if runs > 1 else None
    triton_scan.outputs[(y.shape[0] * runs, blocks)](
        *(*scan[:9], starts, y, last, states if keep_states else None),
        *(*y.shape[1:], tiles, per_run, *scan.strides()),
        N=last.shape[2],
        SOFTPLUS=scan.delta_softplus,
        **sizes,
    )
    return y, last, states


def _run_starts(
    scan: Scan, left: Tensor, left_stride: int, right: tuple[Tensor, int, Tensor | None, int], *, reverse: bool
) -> Tensor:
    """Return what each run starts from, (B, R, D, N): states, or gradients of states if reverse."""
    batch, length, channels = scan.delta.shape
    n = scan.A.shape[1]
    sizes, blocks, tiles, per_run = _scan_sizes(scan)
    runs = triton.cdiv(tiles, per_run)
    ends = scan.delta.new_empty(batch, runs, channels, n, dtype=torch.float32)
    totals = scan.delta.new_empty(batch, runs, channels, dtype=torch.float32)
    triton_scan.run_ends[(batch * runs, blocks)](
        *(scan.delta, scan.A, scan.delta_bias, scan.order, left, left_stride, *right, ends, totals),
        *(length, channels, tiles, per_run, scan.delta.stride(1)),
        N=n,
        SOFTPLUS=scan.delta_softplus,
        REVERSE=reverse,
        **sizes,
    )
    del sizes["TILE"]
    triton_scan.run_starts[(batch, blocks)](ends, totals, scan.A, channels, runs, N=n, REVERSE=reverse, **sizes)
    return ends


def scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> list[Tensor]:
    """Return du, ddelta, dA, dB, dC, dD, ddelta_bias, each like what it belongs to."""
    batch, length, channels = dy.shape
    n = scan.A.shape[1]
    if dy.numel() == 0:
        return [t.new_zeros(t.shape) for t in scan[:7]]
    dy, scan = dy.contiguous(), scan.laid_out()
    sizes, blocks, tiles, per_run = _scan_sizes(scan)
    runs = triton.cdiv(tiles, per_run)
    strides = scan.strides()
    right = (scan.C, scan.C.stride(1), scan.prompt, strides[-1])
    starts = _run_starts(scan, dy, channels, right, reverse=True) if runs > 1 else None
    du, ddelta = (t.new_empty(batch, length, channels) for t in (scan.u, scan.delta))
    dB, dC = (dy.new_empty(blocks, batch, length, n, dtype=torch.float32) for _ in range(2))
    dA = dy.new_empty(batch, runs, channels, n, dtype=torch.float32)
    dD, dbias = (dy.new_empty(batch, runs, channels, dtype=torch.float32) for _ in range(2))
    triton_scan_backward.gradients[(batch * runs, blocks)](
        *(dy, *scan[:9], states, starts, du, ddelta, dA, dB, dC, dD, dbias),
        *(length, channels, tiles, per_run, *strides),
        N=n,
        SOFTPLUS=scan.delta_softplus,
        **sizes,
    )
    sums = [dA.sum((0, 1)), dB.sum(0), dC.sum(0), dD.sum((0, 1)), dbias.sum((0, 1))]
    return [du, ddelta, *(t.to(like.dtype) for t, like in zip(sums, scan[2:7], strict=True))]


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
        triton_attention.forward[(windows, heads, blocks)](qkv, table, out, given, *numbers, **sizes)
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
    triton_attention.key_gradients[(windows, heads, blocks)](*tensors, dqkv, *numbers, **sizes)
    triton_attention.query_gradients[(windows, heads, blocks)](*tensors, dqkv, *numbers, **sizes)
    parts = max(1, min(windows, PROGRAMS // (heads * blocks**2)))
    dbias = qkv.new_empty(parts, heads, WINDOW**2, WINDOW**2, dtype=torch.float32)
    triton_attention.bias_gradients[(parts, heads, blocks**2)](*tensors, dbias, windows, *numbers, **sizes)
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
