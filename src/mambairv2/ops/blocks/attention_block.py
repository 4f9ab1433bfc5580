"""Window attention with the layer norm and the maps around it: one pass, and one gradient.

Shape legend: B batch, H W height and width (multiples of M), M window side, E channels, h heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops.attention.native import attention_backward
from mambairv2.ops.attention.window_attention import window_attention
from mambairv2.ops.backend_choice import (
    WINDOW,
    AttentionBackend,
    DenseBackend,
    Products,
    attention_backend,
    dense_backend,
    rounds,
)
from mambairv2.ops.dense.linear import Affine, Linear, Norm, linear, linear_backward, linear_forward
from mambairv2.ops.library import loader, structs
from mambairv2.ops.registration import block_operator


def attention_block(
    x: Tensor,
    norm: Norm,
    qkv: Affine,
    bias_table: Tensor,
    proj: Affine,
    window: int,
    shift: int,
    *,
    backend: AttentionBackend = "auto",
    dense: DenseBackend = "auto",
    products: Products = "float32",
) -> Tensor:
    """Return x + proj(attention(qkv(norm(x)))) inside each M×M window.

    x: (B, H, W, E). norm: weight (E,), bias (E,) and epsilon. qkv: weight (3E, E) and bias (3E,). proj: weight (E, E)
    and bias (E,). bias_table, window, shift and backend: as `window_attention` takes them; dense: as `linear`.
    products: as `Backends` says, in the maps and in the attention. Floating point of one dtype. Returns (B, H, W, E).
    Raises what these two raise.
    """
    fits = x.shape[1] % window == 0 and x.shape[2] % window == 0 and x.shape[3] % bias_table.shape[1] == 0
    fits = fits and window == WINDOW
    on_native = attention_backend(x, window, backend, bias_table.shape[1]) == dense_backend(x, dense) == "native"
    if fits and on_native:
        gamma, beta, eps = norm
        given = (x, gamma, beta, *qkv, bias_table, *proj)
        return _run(_Block(*given, shift, eps, rounds(products, *given)))
    y = linear(x, *qkv, norm=norm, backend=dense, products=products)
    y = window_attention(y, bias_table, window, shift, backend)
    return linear(y, *proj, residual=x, backend=dense, products=products)


class _Block(NamedTuple):
    x: Tensor
    gamma: Tensor
    beta: Tensor
    qkv_weight: Tensor
    qkv_bias: Tensor
    bias_table: Tensor
    proj_weight: Tensor
    proj_bias: Tensor
    shift: int
    eps: float
    bfloat16: bool = False


def _outputs(block: _Block, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    x, heads = block.x, block.bias_table.shape[1]
    batch, height, width, _ = x.shape
    lse = x.new_empty(batch, heads, height * width if keep else 0)
    return x.new_empty(x.shape), x.new_empty(x.shape if keep else 0), lse


def _forward(block: _Block, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, shift, eps, bfloat16 = block
    loader.check_dtype(*tensors)
    x, gamma, beta, qkv_weight, qkv_bias, bias_table, proj_weight, proj_bias = (t.contiguous() for t in tensors)
    y, mixed, lse = _outputs(block, keep)
    batch, height, width, embed = x.shape
    heads = bias_table.shape[1]
    attention = structs.AttentionArgs(
        table=bias_table,
        out=y,
        lse=lse if keep else None,
        batch=batch,
        height=height,
        width=width,
        heads=heads,
        dim=embed // heads,
        shift=shift,
        threads=torch.get_num_threads(),
    )
    args = structs.AttentionBlockArgs(
        attention=attention,
        x=x,
        gamma=gamma,
        beta=beta,
        qkv_weight=qkv_weight,
        qkv_bias=qkv_bias,
        proj_weight=proj_weight,
        proj_bias=proj_bias,
        mixed=mixed if keep else None,
        eps=eps,
    )
    loader.call("attention_block_forward", torch.bfloat16 if bfloat16 else x.dtype, args)
    return y, mixed, lse


def _backward(dy: Tensor, block: _Block, mixed: Tensor, lse: Tensor) -> list[Tensor | None]:
    """Queries, keys and values are made again: kept, they would take three times the memory of x."""
    into = Linear(block.x, block.qkv_weight, block.qkv_bias, block.gamma, block.beta, eps=block.eps)
    proj = linear_backward(dy, Linear(mixed, block.proj_weight, block.proj_bias))
    dqkv, dtable = attention_backward(proj.x, linear_forward(into), block.bias_table, block.shift, mixed, lse)
    qkv = linear_backward(dqkv, into, around=dy)
    return [qkv.x, qkv.gamma, qkv.beta, qkv.weight, qkv.bias, dtable, proj.weight, proj.bias]


_run = block_operator("attention_block", _Block, 2, _forward, _backward, _outputs)
