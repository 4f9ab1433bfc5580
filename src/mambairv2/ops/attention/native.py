"""Window attention by the native kernels.

Shape legend: B batch, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.attention.operator import attention_operator
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import WINDOW


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum (empty if not kept)."""
    batch, height, width, channels = qkv.shape
    tokens = height * width if keep_lse else 0
    return qkv.new_empty(batch, height, width, channels // 3), qkv.new_empty(batch, bias_table.shape[1], tokens)


def _attention_args(qkv: Tensor, table: Tensor, shift: int, out: Tensor, lse: Tensor | None) -> structs.AttentionArgs:
    loader.check_dtype(qkv, table)
    if table.shape[0] != loader.TABLE:
        raise ValueError(f"the native attention takes windows of {WINDOW}, got a table of {table.shape[0]} rows")
    batch, height, width, channels = qkv.shape
    heads = table.shape[1]
    return structs.AttentionArgs(
        qkv=qkv.contiguous(),
        table=table.contiguous(),
        out=out,
        lse=lse,
        batch=batch,
        height=height,
        width=width,
        heads=heads,
        dim=channels // 3 // heads,
        shift=shift,
        threads=torch.get_num_threads(),
    )


def attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Return the output and log2 of each softmax's sum (empty if not kept)."""
    out, lse = attention_outputs(qkv, bias_table, keep_lse)
    args = _attention_args(qkv, bias_table, shift, out, lse if keep_lse else None)
    loader.call("attention_forward", qkv.dtype, args)
    return out, lse


def attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return dqkv and dtable."""
    windows = qkv.shape[0] * qkv.shape[1] * qkv.shape[2] // WINDOW**2
    dqkv, dtable = qkv.new_empty(qkv.shape), qkv.new_empty(bias_table.shape)
    args = structs.AttentionGradArgs(
        forward=_attention_args(qkv, bias_table, shift, out, lse),
        dout=dout.contiguous(),
        dqkv=dqkv,
        dtable=dtable,
        parts=loader.parts_for(windows // 4),
    )
    loader.call("attention_backward", qkv.dtype, args)
    return dqkv, dtable


window_attention = attention_operator("native", attention_forward, attention_backward, attention_outputs, "CPU")
