"""Window attention by the native kernels.

Shape legend: B batch, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.attention.operator import attention_operator
from mambairv2.ops.backend_choice import WINDOW
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import pointer


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum (empty if not kept)."""
    batch, height, width, channels = qkv.shape
    tokens = height * width if keep_lse else 0
    return qkv.new_empty(batch, height, width, channels // 3), qkv.new_empty(batch, bias_table.shape[1], tokens)


def _attention_args(qkv: Tensor, table: Tensor, shift: int) -> tuple[structs.AttentionArgs, list[Tensor]]:
    """Fill the C struct; the list keeps alive what it points to."""
    loader.check_dtype(qkv, table)
    if table.shape[0] != loader.TABLE:
        raise ValueError(f"the native attention takes windows of {WINDOW}, got a table of {table.shape[0]} rows")
    qkv, table = qkv.contiguous(), table.contiguous()
    batch, height, width, channels = qkv.shape
    heads = table.shape[1]
    sizes = (batch, height, width, heads, channels // 3 // heads, shift)
    args = structs.AttentionArgs(pointer(qkv), pointer(table), None, None, *sizes, torch.get_num_threads())
    return args, [qkv, table]


def attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Return the output and log2 of each softmax's sum (empty if not kept)."""
    out, lse = attention_outputs(qkv, bias_table, keep_lse)
    args, _alive = _attention_args(qkv, bias_table, shift)
    args.out, args.lse = out.data_ptr(), lse.data_ptr() if keep_lse else None
    loader.call("attention_forward", qkv.dtype, args)
    return out, lse


def attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return dqkv and dtable."""
    forward, alive = _attention_args(qkv, bias_table, shift)
    forward.out, forward.lse = out.data_ptr(), lse.data_ptr()
    dout = dout.contiguous()
    windows = qkv.shape[0] * qkv.shape[1] * qkv.shape[2] // WINDOW**2
    parts = loader.parts_for(windows // 4)
    dqkv = torch.empty_like(alive[0])
    dtable = qkv.new_empty(bias_table.shape)
    args = structs.AttentionGradArgs(forward, pointer(dout), pointer(dqkv), pointer(dtable), parts)
    loader.call("attention_backward", qkv.dtype, args)
    return dqkv, dtable


window_attention = attention_operator("native", attention_forward, attention_backward, attention_outputs, "CPU")
