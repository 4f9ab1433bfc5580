"""Window attention with the layer norm and the maps around it: one pass where no gradient is asked for.

Shape legend: B batch, H W height and width (multiples of M), M window side, E channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops import cpu, native
from mambairv2.ops.linear import Affine, Norm, linear, use_native
from mambairv2.ops.linear import Backend as DenseBackend
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import define, needs_gradient
from mambairv2.ops.window_attention import Backend, choose_backend, window_attention


def attention_block(
    x: Tensor,
    norm: Norm,
    qkv: Affine,
    bias_table: Tensor,
    proj: Affine,
    window: int,
    shift: int,
    *,
    backend: Backend = "auto",
    dense: DenseBackend = "auto",
) -> Tensor:
    """Return x + proj(attention(qkv(norm(x)))) inside each M×M window.

    x: (B, H, W, E). norm: weight (E,), bias (E,) and epsilon. qkv: weight (3E, E) and bias (3E,). proj: weight (E, E)
    and bias (E,). bias_table, window, shift and backend: as `window_attention` takes them; dense: as `linear`.
    Floating point of one dtype. Returns (B, H, W, E). Raises what these two raise.
    """
    weights = (*norm[:2], *qkv, bias_table, *proj)
    fits = x.shape[1] % window == 0 and x.shape[2] % window == 0 and x.shape[3] % bias_table.shape[1] == 0
    if (
        fits
        and use_native(x, dense)
        and choose_backend(x, window, backend, bias_table.shape[1]) == "cpu"
        and window == cpu.WINDOW
        and not needs_gradient(x, *weights)
    ):
        y: Tensor = _run(x, *weights, shift, norm[2])
        return y
    y = linear(x, *qkv, norm=norm, backend=dense)
    y = window_attention(y, bias_table, window, shift, backend)
    return linear(y, *proj, residual=x, backend=dense)


def _forward(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    bias_table: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    shift: int,
    eps: float,
) -> Tensor:
    native.check_dtype(x, gamma, beta, qkv_weight, qkv_bias, bias_table, proj_weight, proj_bias)
    tensors = (x, gamma, beta, qkv_weight, qkv_bias, proj_weight, proj_bias, bias_table)
    given = [t.contiguous() for t in tensors]
    batch, height, width, embed = x.shape
    y = torch.empty_like(given[0])
    heads = bias_table.shape[1]
    sizes = (batch, height, width, heads, embed // heads, shift)
    attention = native.AttentionArgs(None, pointer(given[7]), y.data_ptr(), None, *sizes, torch.get_num_threads())
    native.call("attention_block_forward", x.dtype, native.AttentionBlockArgs(attention, *map(pointer, given[:7]), eps))
    return y


_run = define(
    "attention_block_cpu",
    "(Tensor x, Tensor gamma, Tensor beta, Tensor qkv_weight, Tensor qkv_bias, Tensor bias_table, Tensor proj_weight, "
    "Tensor proj_bias, SymInt shift, float eps) -> Tensor",
    _forward,
    lambda x, *_: x.new_empty(x.shape),
)
