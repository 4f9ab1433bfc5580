"""The selective scan in Triton. Importing this needs triton; `triton.py` does so when first asked to run.

A program owns a block of channels and a run of tiles, 16 tokens each. All steps of a tile are loaded at
once and combined by a scan inside each thread; states pass from tile to tile in registers. Where batch and
channels are too few to fill a GPU, the tokens are cut into runs: how each would end from zero is found
first, from which every run gets its true start. Sums over programs are written apart and added afterwards,
so that results are the same at every run.

Shape legend: B batch, L tokens, D channels, N states, T tokens of a tile, R runs.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def compose(a0: tl.tensor, x0: tl.tensor, a1: tl.tensor, x1: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Join two steps h → a h + x, the first one first."""
    return a0 * a1, a1 * x0 + x1


@triton.jit
def rows_of(order: tl.tensor, image: tl.tensor, i: tl.tensor, valid: tl.tensor, length: tl.tensor) -> tl.tensor:
    """Return the rows of memory that steps i visit."""
    first = image.to(tl.int64) * length
    token = i.to(tl.int64)
    if order is not None:
        token = tl.load(order + first + i, mask=valid, other=0)
    return first + token


@triton.jit
def load(
    x: tl.tensor, rows: tl.tensor, valid: tl.tensor, columns: tl.tensor, inside: tl.tensor, stride: tl.tensor
) -> tl.tensor:
    """Load a tile in float32, zero where it ends."""
    at = rows[:, None] * stride + columns[None, :]
    return tl.load(x + at, mask=valid[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def load_sum(
    x: tl.tensor,
    x_rows: tl.tensor,
    x_stride: tl.tensor,
    p: tl.tensor,
    p_rows: tl.tensor,
    p_stride: tl.tensor,
    valid: tl.tensor,
    n: tl.tensor,
    in_n: tl.tensor,
) -> tl.tensor:
    """Load C of the tokens plus the prompt of the steps, if there is one."""
    total = load(x, x_rows, valid, n, in_n, x_stride)
    if p is not None:
        total += load(p, p_rows, valid, n, in_n, p_stride)
    return total


@triton.jit
def steps_of(raw: tl.tensor, valid: tl.tensor, SOFTPLUS: tl.constexpr) -> tl.tensor:
    """Return Δ, zero outside: such a step leaves the state as it is."""
    step = raw
    if SOFTPLUS:
        e = tl.exp(-tl.abs(raw))
        w = 1.0 + e
        # log(1 + e), exact for small e too (Kahan)
        log1p = tl.where(w == 1.0, e, tl.log(w) * (e / tl.where(w == 1.0, 1.0, w - 1.0)))
        step = tl.maximum(raw, 0.0) + log1p
    return tl.where(valid[:, None], step, 0.0)


@triton.jit
def pick_row(x: tl.tensor, chosen: tl.tensor) -> tl.tensor:
    """Return the one row of (T, D, N) that is chosen."""
    return tl.sum(tl.where(chosen[:, None, None], x, 0.0), 0)


@triton.jit
def run_ends(
    delta: tl.tensor,
    A: tl.tensor,
    bias: tl.tensor,
    order: tl.tensor,
    left: tl.tensor,
    left_stride: tl.tensor,
    right: tl.tensor,
    right_stride: tl.tensor,
    prompt: tl.tensor,
    prompt_stride: tl.tensor,
    ends: tl.tensor,
    totals: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    tiles: tl.tensor,
    per_run: tl.tensor,
    delta_stride: tl.tensor,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Where a run would end from zero, (B, R, D, N), and the sum of its steps, (B, R, D).

    Forward: left, right are u, B. REVERSE: dy, C, and ends are gradients of the state before the run.
    """
    runs = tl.cdiv(tiles, per_run)
    image, run = tl.program_id(0) // runs, tl.program_id(0) % runs
    d, n, t = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N), tl.arange(0, TILE)
    in_d, in_n = d < channels, n < N
    in_dn = in_d[:, None] & in_n[None, :]
    A2 = tl.load(A + d[:, None] * N + n[None, :], mask=in_dn, other=0.0).to(tl.float32) * LOG2E
    bias_d = tl.load(bias + d, mask=in_d, other=0.0).to(tl.float32)
    h = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    first, count = run * per_run, tl.minimum(per_run, tiles - run * per_run)
    for k in range(0, count):
        i = (first + k) * TILE + t
        if REVERSE:
            i = (first + count - k) * TILE - 1 - t
        valid = i < length
        rows = rows_of(order, image, i, valid, length)
        step = steps_of(load(delta, rows, valid, d, in_d, delta_stride) + bias_d[None, :], valid, SOFTPLUS)
        a = tl.exp2(step[:, :, None] * A2[None, :, :])
        x = load(left, rows, valid, d, in_d, left_stride)
        steps = image.to(tl.int64) * length + i
        m = load_sum(right, rows, right_stride, prompt, steps, prompt_stride, valid, n, in_n)
        if REVERSE:
            drive = a * x[:, :, None]  # the state before a step gets a (c + g)
        else:
            drive = (step * x)[:, :, None]
        decays, drives = tl.associative_scan((a, drive * m[:, None, :]), 0, compose)
        h = pick_row(decays * h[None, :, :] + drives, t == TILE - 1)
        total += tl.sum(step, 0)
    at = (image * runs + run).to(tl.int64) * channels + d
    tl.store(ends + at[:, None] * N + n[None, :], h, mask=in_dn)
    tl.store(totals + at, total, mask=in_d)


@triton.jit
def run_starts(
    ends: tl.tensor,
    totals: tl.tensor,
    A: tl.tensor,
    channels: tl.tensor,
    runs: tl.tensor,
    N: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Replace the ends of runs, (B, R, D, N), by what each really starts from."""
    image = tl.program_id(0).to(tl.int64)
    d, n = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    in_d = d < channels
    in_dn = in_d[:, None] & (n < N)[None, :]
    A2 = tl.load(A + d[:, None] * N + n[None, :], mask=in_dn, other=0.0).to(tl.float32) * LOG2E
    h = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    for k in range(0, runs):
        run = k
        if REVERSE:
            run = runs - 1 - k
        at = (image * runs + run) * channels + d
        where = ends + at[:, None] * N + n[None, :]
        end = tl.load(where, mask=in_dn, other=0.0)
        total = tl.load(totals + at, mask=in_d, other=0.0)
        tl.store(where, h, mask=in_dn)
        h = tl.exp2(total[:, None] * A2) * h + end


@triton.jit
def outputs(
    u: tl.tensor,
    delta: tl.tensor,
    A: tl.tensor,
    B: tl.tensor,
    C: tl.tensor,
    D: tl.tensor,
    bias: tl.tensor,
    order: tl.tensor,
    prompt: tl.tensor,
    starts: tl.tensor,
    y: tl.tensor,
    last: tl.tensor,
    states: tl.tensor,
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
    """Write y, the last state (B, D, N), and if asked the states before each tile, (B, L/T, D, N)."""
    runs = tl.cdiv(tiles, per_run)
    image, run = tl.program_id(0) // runs, tl.program_id(0) % runs
    d, n, t = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N), tl.arange(0, TILE)
    in_d, in_n = d < channels, n < N
    in_dn = in_d[:, None] & in_n[None, :]
    at_dn = d[:, None] * N + n[None, :]
    A2 = tl.load(A + at_dn, mask=in_dn, other=0.0).to(tl.float32) * LOG2E
    bias_d = tl.load(bias + d, mask=in_d, other=0.0).to(tl.float32)
    D_d = tl.load(D + d, mask=in_d, other=0.0).to(tl.float32)
    h = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    if starts is not None:
        at_run = (image * runs + run).to(tl.int64) * channels * N
        h = tl.load(starts + at_run + at_dn, mask=in_dn, other=0.0)
    for tile in range(run * per_run, tl.minimum((run + 1) * per_run, tiles)):
        if states is not None:
            at_tile = (image.to(tl.int64) * tiles + tile) * channels * N
            tl.store(states + at_tile + at_dn, h, mask=in_dn)
        i = tile * TILE + t
        valid = i < length
        rows = rows_of(order, image, i, valid, length)
        steps = image.to(tl.int64) * length + i
        step = steps_of(load(delta, rows, valid, d, in_d, delta_stride) + bias_d[None, :], valid, SOFTPLUS)
        x = load(u, rows, valid, d, in_d, u_stride)
        B_t = load(B, rows, valid, n, in_n, B_stride)
        C_t = load_sum(C, rows, C_stride, prompt, steps, prompt_stride, valid, n, in_n)
        a = tl.exp2(step[:, :, None] * A2[None, :, :])
        decays, drives = tl.associative_scan((a, (step * x)[:, :, None] * B_t[:, None, :]), 0, compose)
        hs = decays * h[None, :, :] + drives
        out = tl.sum(hs * C_t[:, None, :], 2) + D_d[None, :] * x
        tl.store(y + rows[:, None] * channels + d[None, :], out, mask=valid[:, None] & in_d[None, :])
        h = pick_row(hs, t == TILE - 1)
    if run == runs - 1:
        tl.store(last + image.to(tl.int64) * channels * N + at_dn, h, mask=in_dn)
