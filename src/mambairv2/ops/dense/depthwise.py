"""Depthwise convolutions with the layer norm before them and the gate behind them, in torch and as one native pass.

Shape legend: B batch, H W height and width, D channels of the convolution, K its kernel.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.dense.linear import Norm
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import pointer

Mode = Literal["gated", "sigmoid", "gelu"]
MODES = get_args(Mode)
MAX_KERNEL = 15


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, mode: Mode, *, norm: Norm | None = None) -> Tensor:
    """Convolve each channel of an image by itself, zeros around it, and join the result to the input; in plain torch.

    mode `gated`: x (B, H, W, 2D) holds u and v, and the result is u · conv(norm(v)). `sigmoid`: x (B, H, W, D) gives
    x · sigmoid(conv(x)). `gelu`: x + GELU(conv(x)). weight: (D, 1, K, K), K odd. bias: (D,). norm (`gated`): weight
    (D,), bias (D,) and epsilon of a layer norm. Floating point of one dtype. Returns (B, H, W, D).
    """
    u, v = x.chunk(2, dim=-1) if mode == "gated" else (x, x)
    if norm is not None:
        v = F.layer_norm(v, v.shape[-1:], *norm)
    z = F.conv2d(v.permute(0, 3, 1, 2), weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    z = z.permute(0, 2, 3, 1)
    if mode == "gated":
        return u * z
    return u * torch.sigmoid(z) if mode == "sigmoid" else u + F.gelu(z)


class Depthwise(NamedTuple):
    """The arguments of a convolution, as `depthwise` says; mode counts `MODES`."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    mode: int
    eps: float


def _arguments(given: Depthwise) -> tuple[structs.DepthwiseArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    loader.check_dtype(*given[:5])
    alive = [None if t is None else t.contiguous() for t in given[:5]]
    sizes = (*given.x.shape[:3], given.weight.shape[0], given.weight.shape[-1])
    pointers = map(pointer, alive)
    args = structs.DepthwiseArgs(*pointers, None, None, *sizes, given.eps, given.mode, torch.get_num_threads())
    return args, alive


def depthwise_forward(given: Depthwise) -> tuple[Tensor, Tensor]:
    """Return the result by the native kernels, and what the convolution gave, for the backward pass."""
    args, _alive = _arguments(given)
    y, conv = (given.x.new_empty(*given.x.shape[:3], len(given.weight)) for _ in range(2))
    args.y, args.conv = y.data_ptr(), conv.data_ptr()
    loader.call("depthwise_forward", y.dtype, args)
    return y, conv


def depthwise_backward(dy: Tensor, given: Depthwise, conv: Tensor) -> list[Tensor]:
    """Return dx, dweight, dbias, dgamma and dbeta by the native kernels, empty for what is not there."""
    forward, _alive = _arguments(given)
    forward.conv = conv.data_ptr()
    dy = dy.contiguous()
    parts = loader.parts_for(dy.shape[0] * dy.shape[1] * dy.shape[2] // 512)
    channels, new = given.weight.shape[0], given.x.new_empty
    normed = 0 if given.gamma is None else channels
    gradients = [new(size) for size in (given.x.shape, given.weight.shape, channels, normed, normed)]
    pointers = map(pointer, (dy, *gradients))
    loader.call("depthwise_backward", dy.dtype, structs.DepthwiseGradArgs(forward, *pointers, parts))
    return gradients
