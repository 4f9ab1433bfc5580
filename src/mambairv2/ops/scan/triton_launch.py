"""Launching the scan's Triton kernels: buffers, grids and block sizes. Importing this needs triton.

Shape legend: B batch, L tokens, D channels, N states, T tokens of a tile, R runs.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from mambairv2.ops.scan import triton_backward, triton_forward
from mambairv2.ops.scan.arguments import Scan, ScanGradients
from mambairv2.ops.scan.triton_buffers import scan_outputs, tile_of
from mambairv2.ops.triton_support import FUSED, PROGRAMS

SHORTEST_RUN = 4  # tiles


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
    *tensors, softplus = scan
    triton_forward.outputs[(y.shape[0] * runs, blocks)](
        *(*tensors, starts, y, last, states if keep_states else None),
        *(*y.shape[1:], tiles, per_run, *_strides(scan)),
        N=last.shape[2],
        SOFTPLUS=softplus,
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
    triton_forward.run_ends[(batch * runs, blocks)](
        *(scan.delta, scan.A, scan.delta_bias, scan.order, left, left_stride, *right, ends, totals),
        *(length, channels, tiles, per_run, scan.delta.stride(1)),
        N=n,
        SOFTPLUS=scan.delta_softplus,
        REVERSE=reverse,
        **sizes,
    )
    del sizes["TILE"]
    triton_forward.run_starts[(batch, blocks)](ends, totals, scan.A, channels, runs, N=n, REVERSE=reverse, **sizes)
    return ends


def scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> ScanGradients:
    """Return the gradients, each like what it belongs to."""
    batch, length, channels = dy.shape
    n = scan.A.shape[1]
    if dy.numel() == 0:
        return ScanGradients(*(t.new_zeros(t.shape) for t in scan._replace(prompt=None).real()))
    dy, scan = dy.contiguous(), scan.laid_out()
    sizes, blocks, tiles, per_run = _scan_sizes(scan)
    runs = triton.cdiv(tiles, per_run)
    right = (scan.C, scan.C.stride(1), scan.prompt, _prompt_stride(scan))
    starts = _run_starts(scan, dy, channels, right, reverse=True) if runs > 1 else None
    du, ddelta = (t.new_empty(batch, length, channels) for t in (scan.u, scan.delta))
    dB, dC = (dy.new_empty(blocks, batch, length, n, dtype=torch.float32) for _ in range(2))
    dA = dy.new_empty(batch, runs, channels, n, dtype=torch.float32)
    dD, dbias = (dy.new_empty(batch, runs, channels, dtype=torch.float32) for _ in range(2))
    *tensors, softplus = scan
    triton_backward.gradients[(batch * runs, blocks)](
        *(dy, *tensors, states, starts, du, ddelta, dA, dB, dC, dD, dbias),
        *(length, channels, tiles, per_run, *_strides(scan)),
        N=n,
        SOFTPLUS=softplus,
        **sizes,
    )
    return ScanGradients(
        u=du,
        delta=ddelta,
        A=dA.sum((0, 1)).to(scan.A.dtype),
        B=dB.sum(0).to(scan.B.dtype),
        C=dC.sum(0).to(scan.C.dtype),
        D=dD.sum((0, 1)).to(scan.D.dtype),
        delta_bias=dbias.sum((0, 1)).to(scan.delta_bias.dtype),
    )


def _strides(scan: Scan) -> tuple[int, ...]:
    """Return from one token to the next of u, delta, B, C and the prompt, laid out."""
    return *(t.stride(1) for t in (scan.u, scan.delta, scan.B, scan.C)), _prompt_stride(scan)


def _prompt_stride(scan: Scan) -> int:
    return 0 if scan.prompt is None else scan.prompt.stride(1)
