"""Window attention in Triton. Importing this needs triton; `triton.py` does so when first asked to run.

A program owns some queries (or keys) of one head of one window of 16×16. Tokens are read where they lie in
the image, shifted windows included; bias and mask are found from the positions. The backward pass takes the
log-sum-exp of each query; the bias gradient is added up over windows in registers, then over the programs.

Shape legend: n = 256 tokens of a window, DIM channels of a head, PAD those to a power of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

M = tl.constexpr(16)
TOKENS = tl.constexpr(256)
TABLE = tl.constexpr(31 * 31)
LOG2E = tl.constexpr(1.4426950408889634)
MASK = tl.constexpr(-100.0 * 1.4426950408889634)


@triton.jit
def _tokens(index: tl.tensor, i: tl.tensor, height: tl.tensor, width: tl.tensor, shift: tl.tensor) -> tl.tensor:
    """Return the rows of memory of positions i of a window, counted over all images."""
    columns = width // M
    windows = columns * (height // M)
    image, window = index // windows, index % windows
    y = ((window // columns) * M + i // M + shift) % height
    x = ((window % columns) * M + i % M + shift) % width
    return (image.to(tl.int64) * height + y) * width + x


@triton.jit
def _region(index: tl.tensor, i: tl.tensor, height: tl.tensor, width: tl.tensor, shift: tl.tensor) -> tl.tensor:
    """Number the regions of the image that meet in a window of the last row or column."""
    columns = width // M
    window = index % (columns * (height // M))
    second_y = (window // columns == height // M - 1) & (i // M + shift >= M)
    second_x = (window % columns == columns - 1) & (i % M + shift >= M)
    return second_y.to(tl.int32) * 2 + second_x.to(tl.int32)


@triton.jit
def _load(x: tl.tensor, rows: tl.tensor, stride: tl.tensor, DIM: tl.constexpr, PAD: tl.constexpr) -> tl.tensor:
    """Load the channels of one head of some tokens, zeros behind them."""
    d = tl.arange(0, PAD)
    return tl.load(x + rows[:, None] * stride + d[None, :], mask=(d < DIM)[None, :], other=0.0)


@triton.jit
def _store(
    x: tl.tensor, rows: tl.tensor, stride: tl.tensor, value: tl.tensor, DIM: tl.constexpr, PAD: tl.constexpr
) -> None:
    d = tl.arange(0, PAD)
    at = x + rows[:, None] * stride + d[None, :]
    tl.store(at, value.to(x.dtype.element_ty), mask=(d < DIM)[None, :])


@triton.jit
def _scores(
    q: tl.tensor,
    k: tl.tensor,
    table: tl.tensor,
    index: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return q kᵀ / √d + bias + mask in base 2; table: (961,) of the head."""
    dy, dx = i[:, None] // M - j[None, :] // M, i[:, None] % M - j[None, :] % M
    bias = tl.load(table + (dy + M - 1) * (2 * M - 1) + dx + M - 1).to(tl.float32) * LOG2E
    s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale + bias
    apart = _region(index, i, height, width, shift)[:, None] != _region(index, j, height, width, shift)[None, :]
    return s + tl.where((shift > 0) & apart, MASK, 0.0)


@triton.jit
def forward(
    qkv: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    lse: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the output, and log2 of each softmax's sum if asked: (windows, heads, n)."""
    index, head = tl.program_id(0), tl.program_id(1)
    embed = heads * DIM
    i = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    rows = _tokens(index, i, height, width, shift)
    qkv += head * DIM
    q = _load(qkv, rows, 3 * embed, DIM, PAD)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    acc = tl.zeros((BLOCK, PAD), tl.float32)
    for start in range(0, TOKENS, BLOCK):
        j = start + tl.arange(0, BLOCK)
        keys = _tokens(index, j, height, width, shift)
        k = _load(qkv + embed, keys, 3 * embed, DIM, PAD)
        v = _load(qkv + 2 * embed, keys, 3 * embed, DIM, PAD)
        s = _scores(q, k, table + head * TABLE, index, i, j, height, width, shift, scale, PRECISION)
        higher = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(p, 1)
        acc = acc * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        top = higher
    _store(out + head * DIM, rows, embed, acc / total[:, None], DIM, PAD)
    if lse is not None:
        at = (index.to(tl.int64) * heads + head) * TOKENS + i
        tl.store(lse + at, top + tl.log2(total))


@triton.jit
def _slopes(
    table: tl.tensor,
    out: tl.tensor,
    dout: tl.tensor,
    lse: tl.tensor,
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    rows: tl.tensor,
    index: tl.tensor,
    head: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the probabilities, the gradient of the scores, and dout of queries i against keys j."""
    s = _scores(q, k, table + head * TABLE, index, i, j, height, width, shift, scale, PRECISION)
    at = (index.to(tl.int64) * heads + head) * TOKENS + i
    p = tl.exp2(s - tl.load(lse + at)[:, None])
    o = _load(out + head * DIM, rows, heads * DIM, DIM, PAD)
    do = _load(dout + head * DIM, rows, heads * DIM, DIM, PAD)
    mean = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    ds = p * (tl.dot(do, tl.trans(v), input_precision=PRECISION) - mean[:, None])
    return p, ds, do


@triton.jit
def key_gradients(
    qkv: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    dout: tl.tensor,
    lse: tl.tensor,
    dqkv: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradients of k and v."""
    index, head = tl.program_id(0), tl.program_id(1)
    embed = heads * DIM
    j = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    keys = _tokens(index, j, height, width, shift)
    qkv += head * DIM
    k = _load(qkv + embed, keys, 3 * embed, DIM, PAD)
    v = _load(qkv + 2 * embed, keys, 3 * embed, DIM, PAD)
    dk, dv = tl.zeros((BLOCK, PAD), tl.float32), tl.zeros((BLOCK, PAD), tl.float32)
    for start in range(0, TOKENS, BLOCK):
        i = start + tl.arange(0, BLOCK)
        rows = _tokens(index, i, height, width, shift)
        q = _load(qkv, rows, 3 * embed, DIM, PAD)
        p, ds, do = _slopes(
            table, out, dout, lse, q, k, v, rows, index, head, i, j,
            height, width, heads, shift, scale, DIM, PAD, PRECISION,
        )  # fmt: skip
        dv += tl.dot(tl.trans(p.to(do.dtype)), do, input_precision=PRECISION)
        dk += tl.dot(tl.trans(ds.to(q.dtype)), q, input_precision=PRECISION)
    dqkv += head * DIM
    _store(dqkv + embed, keys, 3 * embed, dk * (scale / LOG2E), DIM, PAD)
    _store(dqkv + 2 * embed, keys, 3 * embed, dv, DIM, PAD)


@triton.jit
def query_gradients(
    qkv: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    dout: tl.tensor,
    lse: tl.tensor,
    dqkv: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradient of q."""
    index, head = tl.program_id(0), tl.program_id(1)
    embed = heads * DIM
    i = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    rows = _tokens(index, i, height, width, shift)
    qkv += head * DIM
    q = _load(qkv, rows, 3 * embed, DIM, PAD)
    dq = tl.zeros((BLOCK, PAD), tl.float32)
    for start in range(0, TOKENS, BLOCK):
        j = start + tl.arange(0, BLOCK)
        keys = _tokens(index, j, height, width, shift)
        k = _load(qkv + embed, keys, 3 * embed, DIM, PAD)
        v = _load(qkv + 2 * embed, keys, 3 * embed, DIM, PAD)
        _, ds, _ = _slopes(
            table, out, dout, lse, q, k, v, rows, index, head, i, j,
            height, width, heads, shift, scale, DIM, PAD, PRECISION,
        )  # fmt: skip
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION)
    _store(dqkv + head * DIM, rows, 3 * embed, dq * (scale / LOG2E), DIM, PAD)


@triton.jit
def bias_gradients(
    qkv: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    dout: tl.tensor,
    lse: tl.tensor,
    dbias: tl.tensor,
    windows: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradient of the bias, summed over every parts-th window: (parts, heads, n, n)."""
    part, head = tl.program_id(0), tl.program_id(1)
    parts, embed = tl.num_programs(0), heads * DIM
    i = tl.program_id(2) // (TOKENS // BLOCK) * BLOCK + tl.arange(0, BLOCK)
    j = tl.program_id(2) % (TOKENS // BLOCK) * BLOCK + tl.arange(0, BLOCK)
    qkv += head * DIM
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for turn in range(0, tl.cdiv(windows - part, parts)):
        index = part + turn * parts
        rows = _tokens(index, i, height, width, shift)
        keys = _tokens(index, j, height, width, shift)
        q = _load(qkv, rows, 3 * embed, DIM, PAD)
        k = _load(qkv + embed, keys, 3 * embed, DIM, PAD)
        v = _load(qkv + 2 * embed, keys, 3 * embed, DIM, PAD)
        _, ds, _ = _slopes(
            table, out, dout, lse, q, k, v, rows, index, head, i, j,
            height, width, heads, shift, scale, DIM, PAD, PRECISION,
        )  # fmt: skip
        total += ds
    at = (part * heads + head).to(tl.int64) * TOKENS * TOKENS
    tl.store(dbias + at + i[:, None] * TOKENS + j[None, :], total)
