"""Window multi-head self-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambairv2.network.layers import affine_of, norm_of
from mambairv2.ops.attention.window_attention import relative_position_index, window_attention
from mambairv2.ops.backend_choice import Backends
from mambairv2.ops.blocks.attention_block import attention_block

__all__ = ["WindowAttention", "relative_position_index"]


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned relative position bias: (B, H, W, E) → (B, H, W, E).

    H and W are multiples of the window. shift: 0, or the pixels by which windows are moved down and to the right.
    """

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.backends = Backends()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside each window; x is normalised."""
        y = window_attention(self.qkv(x), self.bias_table, self.window, self.shift, self.backends.attention)
        return self.proj(y)

    def fused(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Return x + self(norm(x)) in one pass over the windows."""
        return attention_block(
            x,
            norm_of(norm),
            affine_of(self.qkv),
            self.bias_table,
            affine_of(self.proj),
            self.window,
            self.shift,
            backend=self.backends.attention,
            dense=self.backends.dense,
            products=self.backends.products,
        )
