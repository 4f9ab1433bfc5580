"""Depthwise convolutions with the layer norm before them and the gate behind them, as one pass over the tokens.

Shape legend: B batch, H W height and width, D channels of the convolution, K its kernel.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import native
from mambairv2.ops.linear import Backend, Norm, use_native
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import define, needs_gradient

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
        keep = needs_gradient(x, weight, bias, gamma)
        y: Tensor = _run(x, weight, bias, gamma, beta, MODES.index(mode), eps, keep)[0]
        return y
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


_DEPTHWISE = "Tensor x, Tensor weight, Tensor bias, Tensor? gamma, Tensor? beta, int mode, float eps"


def _arguments(given: Depthwise) -> tuple[native.DepthwiseArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    native.check_dtype(*given[:5])
    alive = [None if t is None else t.contiguous() for t in given[:5]]
    sizes = (*given.x.shape[:3], given.weight.shape[0], given.weight.shape[-1])
    pointers = map(pointer, alive)
    args = native.DepthwiseArgs(*pointers, None, None, *sizes, given.eps, given.mode, torch.get_num_threads())
    return args, alive


def _outputs(given: Depthwise, keep_conv: bool) -> tuple[Tensor, Tensor]:
    size = (*given.x.shape[1:3], given.weight.shape[0])
    return given.x.new_empty(given.x.shape[0], *size), given.x.new_empty(given.x.shape[0] if keep_conv else 0, *size)


def depthwise_forward(given: Depthwise, keep_conv: bool) -> tuple[Tensor, Tensor]:
    """Return the result by the native kernels, and what the convolution gave (empty if not kept)."""
    args, _alive = _arguments(given)
    y, conv = _outputs(given, keep_conv)
    args.y, args.conv = y.data_ptr(), conv.data_ptr() if keep_conv else None
    native.call("depthwise_forward", y.dtype, args)
    return y, conv


def depthwise_backward(dy: Tensor, given: Depthwise, conv: Tensor) -> list[Tensor]:
    """Return dx, dweight, dbias, dgamma and dbeta by the native kernels, empty for what is not there."""
    forward, _alive = _arguments(given)
    forward.conv = conv.data_ptr()
    dy = dy.contiguous()
    parts = native.parts_for(dy.shape[0] * dy.shape[1] * dy.shape[2] // 512)
    gradients = _gradients(given)
    pointers = map(pointer, (dy, *gradients))
    native.call("depthwise_backward", dy.dtype, native.DepthwiseGradArgs(forward, *pointers, parts))
    return gradients


def _gradients(given: Depthwise) -> list[Tensor]:
    """Room for dx, dweight, dbias, dgamma, dbeta; empty for what is not there."""
    channels, new = given.weight.shape[0], given.x.new_empty
    normed = 0 if given.gamma is None else channels
    return [new(size) for size in (given.x.shape, given.weight.shape, channels, normed, normed)]


_run_backward = define(
    "depthwise_backward_cpu",
    f"(Tensor dy, {_DEPTHWISE}, Tensor conv) -> Tensor[]",
    lambda dy, *args: depthwise_backward(dy, Depthwise(*args[:-1]), args[-1]),
    lambda _, *args: _gradients(Depthwise(*args[:-1])),
)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    ctx.options = inputs[5:7]
    ctx.save_for_backward(*inputs[:5], output[1])


def _gradient(ctx, dy, _conv):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    *tensors, conv = ctx.saved_tensors
    dx, dweight, dbias, dgamma, dbeta = _run_backward(dy, *tensors, *ctx.options, conv)
    normed = (dgamma, dbeta) if tensors[3] is not None else (None, None)
    return dx, dweight, dbias, *normed, None, None, None


_run = define(
    "depthwise_cpu",
    f"({_DEPTHWISE}, bool keep_conv) -> (Tensor, Tensor)",
    lambda *args: depthwise_forward(Depthwise(*args[:-1]), args[-1]),
    lambda *args: _outputs(Depthwise(*args[:-1]), args[-1]),
    gradient=_gradient,
    save=_save,
)
