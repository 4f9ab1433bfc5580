"""TODO network.attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambairv2.network.layers import affine_of, norm_of
from mambairv2.ops.attention.window_attention import relative_position_index
from mambairv2.ops.backend_choice import AttentionBackend, DenseBackend
from mambairv2.ops.blocks.attention_block import attention_block

__all__ = ["WindowAttention", "relative_position_index"]


class WindowAttention(nn.Module):
    """Window multi-head self-attention with a learned relative position bias: (B, H, W, E) → (B, H, W, E)."""

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.backend: AttentionBackend = "auto"
        self.dense: DenseBackend = "auto"
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + attention inside each window of norm(x); H and W are multiples of the window."""
        qkv, proj = affine_of(self.qkv), affine_of(self.proj)
        window = (self.window, self.shift)
        return attention_block(
            x, norm_of(norm), qkv, self.bias_table, proj, *window, backend=self.backend, dense=self.dense
        )
