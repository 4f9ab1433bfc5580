"""Depthwise convolutions with the layer norm before them and the gate behind them, as one pass over the tokens.

Shape legend: B batch, H W height and width, D channels of the convolution, K its kernel.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import native
from mambairv2.ops.linear import Backend, Norm, parts_for, use_native
from mambairv2.ops.native import pointer

Mode = Literal["gated", "sigmoid", "gelu"]
MODES = get_args(Mode)
MAX_KERNEL = 15


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mode: Mode,
    *,
    norm: Norm | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Convolve each channel of an image by itself, zeros around it, and join the result to the input.

    mode `gated`: x (B, H, W, 2D) holds u and v, and the result is u · conv(norm(v)). `sigmoid`: x (B, H, W, D) gives
    x · sigmoid(conv(x)). `gelu`: x + GELU(conv(x)). weight: (D, 1, K, K), K odd. bias: (D,), or none. norm (`gated`):
    weight (D,), bias (D,) and epsilon of a layer norm. Floating point of one dtype; `cpu` takes float32 and float64.
    Returns (B, H, W, D). Raises ValueError for another dtype with `cpu`, RuntimeError where it is not available.
    """
    if use_native(x, backend) and weight.shape[-1] <= MAX_KERNEL:
        gamma, beta, eps = norm if norm is not None else (None, None, 0.0)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
        y: Tensor = _depthwise(x, weight, bias, gamma, beta, MODES.index(mode), eps, keep)[0]
        return y
    u, v = x.chunk(2, dim=-1) if mode == "gated" else (x, x)
    if norm is not None:
        v = F.layer_norm(v, v.shape[-1:], *norm)
    z = F.conv2d(v.permute(0, 3, 1, 2), weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    z = z.permute(0, 2, 3, 1)
    if mode == "gated":
        return u * z
    return u * torch.sigmoid(z) if mode == "sigmoid" else u + F.gelu(z)


@torch.library.custom_op("mambairv2::depthwise_cpu", mutates_args=(), device_types="cpu")
def _depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mode: int,
    eps: float,
    keep_conv: bool,
) -> tuple[Tensor, Tensor]:
    args, _alive = _arguments(x, weight, bias, gamma, beta, mode, eps)
    y, conv = _outputs(x, weight, keep_conv)
    args.y, args.conv = y.data_ptr(), conv.data_ptr() if keep_conv else None
    native.call("depthwise_forward", x.dtype, args)
    return y, conv


@_depthwise.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mode: int,
    eps: float,
    keep_conv: bool,
) -> tuple[Tensor, Tensor]:
    return _outputs(x, weight, keep_conv)


def _outputs(x: Tensor, weight: Tensor, keep_conv: bool) -> tuple[Tensor, Tensor]:
    size = (*x.shape[1:3], weight.shape[0])
    return x.new_empty(x.shape[0], *size), x.new_empty(x.shape[0] if keep_conv else 0, *size)


def _arguments(
    x: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor | None, beta: Tensor | None, mode: int, eps: float
) -> tuple[native.DepthwiseArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    given = (x, weight, bias, gamma, beta)
    native.check_dtype(*given)
    alive = [None if t is None else t.contiguous() for t in given]
    sizes = (*x.shape[:3], weight.shape[0], weight.shape[-1])
    args = native.DepthwiseArgs(*map(pointer, alive), None, None, *sizes, eps, mode, torch.get_num_threads())
    return args, alive


@torch.library.custom_op("mambairv2::depthwise_backward_cpu", mutates_args=(), device_types="cpu")
def _depthwise_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    conv: Tensor,
    mode: int,
    eps: float,
) -> list[Tensor]:
    forward, _alive = _arguments(x, weight, bias, gamma, beta, mode, eps)
    forward.conv = conv.data_ptr()
    dy = dy.contiguous()
    parts = parts_for(x.shape[0] * x.shape[1] * x.shape[2] // 512)
    dx, sums = _gradients(x, weight, gamma, parts)
    dweight, dbias, dgamma, dbeta = sums
    pointers = map(pointer, (dy, dx, dweight, dbias, dgamma, dbeta))
    args = native.DepthwiseGradArgs(forward, *pointers, parts)
    native.call("depthwise_backward", x.dtype, args)
    return [dx, *(t.sum(0) for t in sums)]


@_depthwise_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    conv: Tensor,
    mode: int,
    eps: float,
) -> list[Tensor]:
    dx, sums = _gradients(x, weight, gamma, 1)
    return [dx, *(t.sum(0) for t in sums)]


def _gradients(x: Tensor, weight: Tensor, gamma: Tensor | None, parts: int) -> tuple[Tensor, list[Tensor]]:
    """Room for dx, and the parts of dweight, dbias, dgamma, dbeta; empty for what is not there."""
    channels = weight.shape[0]
    normed = 0 if gamma is None else channels
    return x.new_empty(x.shape), [
        x.new_empty(parts, *size) for size in (tuple(weight.shape), (channels,), (normed,), (normed,))
    ]


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    *tensors, ctx.mode, ctx.eps, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _gradient(ctx, dy, _conv):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    tensors = ctx.saved_tensors
    backward = torch.ops.mambairv2.depthwise_backward_cpu
    dx, dweight, dbias, dgamma, dbeta = backward(dy, *tensors, ctx.mode, ctx.eps)
    normed = (dgamma, dbeta) if tensors[3] is not None else (None, None)
    return dx, dweight, dbias, *normed, None, None, None


_depthwise.register_autograd(_gradient, setup_context=_save)
