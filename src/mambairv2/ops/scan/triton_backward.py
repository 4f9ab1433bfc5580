"""The backward pass of the selective scan in Triton; see `triton_scan`."""

from __future__ import annotations

import triton
import triton.language as tl

from mambairv2.ops.scan.triton_forward import LOG2E, compose, load, load_sum, pick_row, rows_of, steps_of


@triton.jit
def gradients(
    dy: tl.tensor,
    u: tl.tensor,
    delta: tl.tensor,
    A: tl.tensor,
    B: tl.tensor,
    C: tl.tensor,
    D: tl.tensor,
    bias: tl.tensor,
    order: tl.tensor,
    prompt: tl.tensor,
    states: tl.tensor,
    starts: tl.tensor,
    du: tl.tensor,
    ddelta: tl.tensor,
    dA: tl.tensor,
    dB: tl.tensor,
    dC: tl.tensor,
    dD: tl.tensor,
    dbias: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    tiles: tl.tensor,
    per_run: tl.tensor,
    u_stride: tl.tensor,
    delta_stride: tl.tensor,
    B_stride: tl.tensor,
    C_stride: tl.tensor,
    prompt_stride: tl.tensor,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Write du, ddelta and parts of the others: dB, dC (blocks, B, L, N), dA (B, R, D, N), dD, dbias (B, R, D)."""
    runs = tl.cdiv(tiles, per_run)
    image, run = tl.program_id(0) // runs, tl.program_id(0) % runs
    d, n, t = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N), tl.arange(0, TILE)
    in_d, in_n = d < channels, n < N
    in_dn = in_d[:, None] & in_n[None, :]
    at_dn = d[:, None] * N + n[None, :]
    at_run = (image * runs + run).to(tl.int64) * channels
    A_dn = tl.load(A + at_dn, mask=in_dn, other=0.0).to(tl.float32)
    A2 = A_dn * LOG2E
    bias_d = tl.load(bias + d, mask=in_d, other=0.0).to(tl.float32)
    D_d = tl.load(D + d, mask=in_d, other=0.0).to(tl.float32)
    g = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)  # of the state that a tile hands on
    if starts is not None:
        g = tl.load(starts + at_run * N + at_dn, mask=in_dn, other=0.0)
    dA_dn = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    dD_d = tl.zeros((BLOCK_D,), tl.float32)
    dbias_d = tl.zeros((BLOCK_D,), tl.float32)
    first, count = run * per_run, tl.minimum(per_run, tiles - run * per_run)
    images = tl.num_programs(0) // runs
    part = (tl.program_id(1).to(tl.int64) * images) * length  # rows before this block's part of dB and dC
    for k in range(0, count):
        tile = first + count - 1 - k
        i = tile * TILE + t
        # The state before each step is the state after the one before it: scan the steps shifted by one.
        valid = (t > 0) & (i - 1 < length)
        rows = rows_of(order, image, i - 1, valid, length)
        step = steps_of(load(delta, rows, valid, d, in_d, delta_stride) + bias_d[None, :], valid, SOFTPLUS)
        x = load(u, rows, valid, d, in_d, u_stride)
        B_t = load(B, rows, valid, n, in_n, B_stride)
        a = tl.exp2(step[:, :, None] * A2[None, :, :])
        decays, drives = tl.associative_scan((a, (step * x)[:, :, None] * B_t[:, None, :]), 0, compose)
        at_tile = (image.to(tl.int64) * tiles + tile) * channels * N
        before = decays * tl.load(states + at_tile + at_dn, mask=in_dn, other=0.0)[None, :, :] + drives
        # The gradient of the state after each step: what it gives to y and, decayed by the step after it, on.
        valid = (t < TILE - 1) & (i + 1 < length)
        rows = rows_of(order, image, i + 1, valid, length)
        step = steps_of(load(delta, rows, valid, d, in_d, delta_stride) + bias_d[None, :], valid, SOFTPLUS)
        a = tl.exp2(step[:, :, None] * A2[None, :, :])
        valid = i < length
        rows = rows_of(order, image, i, valid, length)
        steps = image.to(tl.int64) * length + i
        dy_t = load(dy, rows, valid, d, in_d, channels)
        C_t = load_sum(C, rows, C_stride, prompt, steps, prompt_stride, valid, n, in_n)
        decays, drives = tl.associative_scan((a, dy_t[:, :, None] * C_t[:, None, :]), 0, compose, reverse=True)
        gh = decays * g[None, :, :] + drives
        raw = load(delta, rows, valid, d, in_d, delta_stride) + bias_d[None, :]
        step = steps_of(raw, valid, SOFTPLUS)
        x = load(u, rows, valid, d, in_d, u_stride)
        B_t = load(B, rows, valid, n, in_n, B_stride)
        a = tl.exp2(step[:, :, None] * A2[None, :, :])
        drive = step * x
        after = a * before + drive[:, :, None] * B_t[:, None, :]
        at_n = (part + rows)[:, None] * N + n[None, :]
        in_tn = valid[:, None] & in_n[None, :]
        tl.store(dC + at_n, tl.sum(dy_t[:, :, None] * after, 1), mask=in_tn)
        tl.store(dB + at_n, tl.sum(gh * drive[:, :, None], 1), mask=in_tn)
        ddrive = tl.sum(gh * B_t[:, None, :], 2)
        decayed = gh * a
        g = pick_row(decayed, t == 0)
        slope = decayed * before
        dA_dn += tl.sum(slope * step[:, :, None], 0)
        dstep = tl.sum(slope * A_dn[None, :, :], 2) + ddrive * x
        if SOFTPLUS:
            dstep = dstep / (1.0 + tl.exp(-raw))
        dstep = tl.where(valid[:, None], dstep, 0.0)
        at_d, in_td = rows[:, None] * channels + d[None, :], valid[:, None] & in_d[None, :]
        tl.store(du + at_d, ddrive * step + dy_t * D_d[None, :], mask=in_td)
        tl.store(ddelta + at_d, dstep, mask=in_td)
        dD_d += tl.sum(dy_t * x, 0)
        dbias_d += tl.sum(dstep, 0)
    tl.store(dA + at_run * N + at_dn, dA_dn, mask=in_dn)
    tl.store(dD + at_run + d, dD_d, mask=in_d)
    tl.store(dbias + at_run + d, dbias_d, mask=in_d)
