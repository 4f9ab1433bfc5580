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
from mambairv2.ops.registration import contiguous

Mode = Literal["gated", "sigmoid", "gelu"]
MODES = get_args(Mode)


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


class DepthwiseGradients(NamedTuple):
    """The gradients of a convolution; those of a layer norm that is not there are empty."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    gamma: Tensor
    beta: Tensor


def _arguments(given: Depthwise, y: Tensor | None, conv: Tensor) -> structs.DepthwiseArgs:
    loader.check_dtype(given.x, given.weight, given.bias, given.gamma, given.beta)
    given = contiguous(given)
    batch, height, width, _ = given.x.shape
    return structs.DepthwiseArgs(
        x=given.x,
        weight=given.weight,
        bias=given.bias,
        gamma=given.gamma,
        beta=given.beta,
        y=y,
        conv=conv,
        batch=batch,
        height=height,
        width=width,
        channels=given.weight.shape[0],
        kernel=given.weight.shape[-1],
        eps=given.eps,
        mode=given.mode,
        threads=torch.get_num_threads(),
    )


def depthwise_forward(given: Depthwise) -> tuple[Tensor, Tensor]:
    """Return the result by the native kernels, and what the convolution gave, for the backward pass."""
    y, conv = (given.x.new_empty(*given.x.shape[:3], len(given.weight)) for _ in range(2))
    loader.call("depthwise_forward", y.dtype, _arguments(given, y, conv))
    return y, conv


def depthwise_backward(dy: Tensor, given: Depthwise, conv: Tensor) -> DepthwiseGradients:
    """Return the gradients by the native kernels."""
    channels, new = given.weight.shape[0], given.x.new_empty
    normed = 0 if given.gamma is None else channels
    gradients = DepthwiseGradients(
        new(given.x.shape), new(given.weight.shape), new(channels), gamma=new(normed), beta=new(normed)
    )
    args = structs.DepthwiseGradArgs(
        forward=_arguments(given, None, conv),
        dy=dy.contiguous(),
        dx=gradients.x,
        dweight=gradients.weight,
        dbias=gradients.bias,
        dgamma=gradients.gamma,
        dbeta=gradients.beta,
        parts=loader.parts_for(dy.shape[0] * dy.shape[1] * dy.shape[2] // 512),
    )
    loader.call("depthwise_backward", dy.dtype, args)
    return gradients
