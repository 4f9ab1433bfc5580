"""Window attention by Triton kernels.

Shape legend: B batch, H W height and width, E channels.
"""

from __future__ import annotations

from torch import Tensor

from mambairv2.ops.attention.operator import attention_operator
from mambairv2.ops.attention.triton_buffers import attention_outputs
from mambairv2.ops.registration import EVERY_DEVICE
from mambairv2.ops.triton_support import DTYPES, MAX_HEAD_DIM, WINDOW


def window_attention(qkv: Tensor, bias_table: Tensor, shift: int) -> Tensor:
    """Attend as `ops.window_attention.window_attention` says, for windows of 16; sums in float32."""
    heads = bias_table.shape[1]
    if qkv.dtype not in DTYPES:
        raise ValueError(f"the Triton attention takes float32, bfloat16, float16; got {qkv.dtype}")
    if bias_table.shape[0] != (2 * WINDOW - 1) ** 2 or qkv.shape[3] // 3 // heads > MAX_HEAD_DIM:
        raise ValueError(
            f"the Triton attention takes windows of {WINDOW} and heads of up to {MAX_HEAD_DIM} channels, "
            f"got qkv {tuple(qkv.shape)} and a table of {tuple(bias_table.shape)}"
        )
    return _attention(qkv, bias_table, shift)


def _attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    from mambairv2.ops.attention import triton_launch

    return triton_launch.attention_forward(qkv, bias_table, shift, keep_lse)


def _attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    from mambairv2.ops.attention import triton_launch

    return triton_launch.attention_backward(dout, qkv, bias_table, shift, out, lse)


_attention = attention_operator("triton", _attention_forward, _attention_backward, attention_outputs, EVERY_DEVICE)
