"""What the Triton kernels write to, allocated without Triton, for tracing too."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.triton_support import WINDOW


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum, (B, windows, heads, 256) if kept."""
    batch, height, width, channels = qkv.shape
    windows = height * width // WINDOW**2 if keep_lse else 0
    return (
        qkv.new_empty(batch, height, width, channels // 3),
        qkv.new_empty(batch, windows, bias_table.shape[1], WINDOW**2, dtype=torch.float32),
    )
