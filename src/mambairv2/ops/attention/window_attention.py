"""Multi-head attention inside (shifted) windows, one function over several backends.

Shape legend: B batch, H W height and width (multiples of M), M window side, E channels, h heads, n = M².
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import autocast
from mambairv2.ops.attention import native, triton
from mambairv2.ops.backend_choice import AttentionBackend, attention_backend

MASK = -100.0


def window_attention(
    qkv: Tensor, bias_table: Tensor, window: int, shift: int, backend: AttentionBackend = "auto"
) -> Tensor:
    """Attend inside each M×M window: softmax(q kᵀ / √d + bias + mask) v.

    qkv: (B, H, W, 3E), channels as (which, head, d); H and W multiples of M. bias_table: ((2M-1)², heads),
    the learned bias by relative position. shift: 0, or the pixels by which windows are moved down and to
    the right; positions from different regions of the image then meet with -100 added.
    float32 or float64, and bf16/fp16 except with backend `native`, which takes these under autocast only.
    Returns (B, H, W, E) in the dtype of qkv.
    Raises ValueError for sizes that do not fit, RuntimeError for a backend that is not available here.
    """
    _, height, width, channels = qkv.shape
    heads = bias_table.shape[1]
    if height % window or width % window:
        raise ValueError(f"height and width must be multiples of {window}, got {height}×{width}")
    if channels % (3 * heads) or bias_table.shape[0] != (2 * window - 1) ** 2:
        raise ValueError(f"qkv {tuple(qkv.shape)} and bias table {tuple(bias_table.shape)} do not fit")
    if not autocast.active(qkv.device):
        return _run(qkv, bias_table, window, shift, backend)
    with torch.autocast(qkv.device.type, enabled=False):
        wide = autocast.widen(qkv)
        if attention_backend(wide, window, backend, heads) == "native":
            return _run(wide, bias_table.to(wide.dtype), window, shift, backend).to(qkv.dtype)
        return _run(qkv, bias_table, window, shift, backend)


def _run(qkv: Tensor, bias_table: Tensor, window: int, shift: int, backend: AttentionBackend) -> Tensor:
    name = attention_backend(qkv, window, backend, bias_table.shape[1])
    if name == "native":
        return native.window_attention(qkv, bias_table, shift)
    if name == "triton":
        return triton.window_attention(qkv, bias_table, shift)
    if name == "reference":
        wide = autocast.widen(qkv)
        return _unfused(wide, bias_table, window, shift, written_out=True).to(qkv.dtype)
    return _unfused(qkv, bias_table, window, shift, written_out=False)


def _unfused(qkv: Tensor, bias_table: Tensor, window: int, shift: int, written_out: bool) -> Tensor:
    batch, height, width, channels = qkv.shape
    heads, dim = bias_table.shape[1], channels // 3 // bias_table.shape[1]
    rows, cols, n = height // window, width // window, window * window
    if shift:
        qkv = qkv.roll((-shift, -shift), (1, 2))
    windows = qkv.view(batch, rows, window, cols, window, 3, heads, dim)
    q, k, v = windows.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, batch * rows * cols, heads, n, dim)
    index = relative_position_index(window, qkv.device)
    bias = bias_table[index.flatten()].view(n, n, heads).permute(2, 0, 1).to(q.dtype)
    if shift:
        mask = region_mask(height, width, window, shift).to(qkv.device, q.dtype)
        bias = (bias + mask[:, None]).repeat(batch, 1, 1, 1)
    if written_out:
        y = ((q * dim**-0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(q.shape[0], heads, n, n))
    y = y.view(batch, rows, cols, heads, window, window, dim).permute(0, 1, 4, 2, 5, 3, 6)
    y = y.reshape(batch, height, width, channels // 3)
    out: Tensor = y.roll((shift, shift), (1, 2)) if shift else y
    return out


def relative_position_index(window: int, device: torch.device | None = None) -> Tensor:
    """Return the row of the bias table for each pair of positions: (n, n) int64.

    It is computed at each call. Kept between calls, it would be a tensor of the first caller's kind: of inference
    mode, which breaks a backward pass, or without values, as torch.export runs a network.
    """
    i = torch.arange(window, device=device)
    y, x = (t.flatten() for t in torch.meshgrid(i, i, indexing="ij"))
    dy = y[:, None] - y[None] + window - 1
    dx = x[:, None] - x[None] + window - 1
    return dy * (2 * window - 1) + dx


def region_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Return 0 where two positions of a shifted window share a region, else -100: (windows, n, n)."""

    def regions(size: int) -> Tensor:
        i = torch.arange(size)
        return (i >= size - window).long() + (i >= size - shift).long()

    region = regions(height)[:, None] * 3 + regions(width)[None]
    region = region.view(height // window, window, width // window, window).transpose(1, 2)
    region = region.reshape(-1, window * window)
    return torch.where(region[:, :, None] == region[:, None], 0.0, MASK)
