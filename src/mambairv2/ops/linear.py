"""A linear map with the layer norm before it and what is added behind it, as one pass over the tokens.

Shape legend: ... any leading sizes, K channels in, N channels out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import available, cpu, native
from mambairv2.ops.native import pointer

Backend = Literal["auto", "torch", "cpu"]
Norm = tuple[Tensor, Tensor, float]
PARTS = 16


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    norm: Norm | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    skip: Tensor | None = None,
    scale: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Return act(W norm(x) + bias) + residual + scale · skip.

    x: (..., K). weight: (N, K). bias: (N,). norm: weight (K,), bias (K,) and epsilon of a layer norm of x. gelu:
    act is the exact GELU, else nothing. residual, skip: (..., N); scale, given with skip: (N,). Floating point of
    one dtype; `cpu` takes float32 and float64. Returns (..., N). Raises ValueError for another dtype with `cpu`,
    RuntimeError where it is not available.
    """
    if use_native(x, backend):
        gamma, beta, eps = norm if norm is not None else (None, None, 0.0)
        tokens, outside = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], weight.shape[0])
        residual = None if residual is None else residual.reshape(-1, weight.shape[0])
        skip = None if skip is None else skip.reshape(-1, weight.shape[0])
        y: Tensor = _linear(tokens, weight, bias, gamma, beta, residual, skip, scale, eps, gelu)
        return y.view(outside)
    if norm is not None:
        x = F.layer_norm(x, x.shape[-1:], *norm)
    y = F.linear(x, weight, bias)
    if gelu:
        y = F.gelu(y)
    if residual is not None:
        y = residual + y
    return y if skip is None or scale is None else scale * skip + y


def use_native(x: Tensor, backend: Backend) -> bool:
    """Return whether the native kernels are to take tensors like x: where they can, for `auto`."""
    if backend == "auto":
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        on_cpu = x.device.type == "cpu" and cpu.unavailable() is None and x.dtype in native.DTYPES
        return on_cpu and not tracing and not torch.is_autocast_enabled("cpu")
    return available.choose(backend, x.device, ("cpu", "torch")) == "cpu"


def parts_for(tasks: int) -> int:
    """Return into how many sums the gradient of a weight is split: a number that threads do not change."""
    return max(1, min(PARTS, tasks))


@torch.library.custom_op("mambairv2::linear_cpu", mutates_args=(), device_types="cpu")
def _linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    skip: Tensor | None,
    scale: Tensor | None,
    eps: float,
    gelu: bool,
) -> Tensor:
    args, _alive = _arguments(x, weight, bias, gamma, beta, residual, skip, scale, eps, gelu)
    y = x.new_empty(x.shape[0], weight.shape[0])
    args.y = y.data_ptr()
    native.call("linear_forward", x.dtype, args)
    return y


@_linear.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    skip: Tensor | None,
    scale: Tensor | None,
    eps: float,
    gelu: bool,
) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _arguments(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    skip: Tensor | None,
    scale: Tensor | None,
    eps: float,
    gelu: bool,
) -> tuple[native.LinearArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    given = (weight, bias, gamma, beta, residual, skip, scale)
    native.check_dtype(x, *given)
    x = x if x.stride(1) == 1 and x.stride(0) >= x.shape[1] else x.contiguous()
    alive = [x, *(None if t is None else t.contiguous() for t in given)]
    sizes = (x.shape[0], x.shape[1], weight.shape[0], x.stride(0))
    args = native.LinearArgs(*map(pointer, alive), None, *sizes, eps, int(gelu), torch.get_num_threads())
    return args, alive


@torch.library.custom_op("mambairv2::linear_backward_cpu", mutates_args=(), device_types="cpu")
def _linear_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    skip: Tensor | None,
    scale: Tensor | None,
    eps: float,
    gelu: bool,
) -> list[Tensor]:
    forward, _alive = _arguments(x, weight, bias, gamma, beta, None, skip, scale, eps, gelu)
    dy = dy.contiguous()
    parts = parts_for(x.shape[0] // 256)
    dx, dskip, sums = _gradients(x, weight, gamma, skip, parts)
    optional = (dskip if skip is not None else None, *sums[:2], *sums[2:])
    dskip_, dweight, dbias, dscale, dgamma, dbeta = optional
    pointers = (dy, dx, dskip_, dweight, dbias, dscale, dgamma, dbeta)
    args = native.LinearGradArgs(forward, *map(pointer, pointers), parts)
    native.call("linear_backward", x.dtype, args)
    return [dx, dskip, *(t.sum(0) for t in sums)]


@_linear_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    skip: Tensor | None,
    scale: Tensor | None,
    eps: float,
    gelu: bool,
) -> list[Tensor]:
    dx, dskip, sums = _gradients(x, weight, gamma, skip, 1)
    return [dx, dskip, *(t.sum(0) for t in sums)]


def _gradients(
    x: Tensor, weight: Tensor, gamma: Tensor | None, skip: Tensor | None, parts: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Room for dx, dskip, and the parts of dweight, dbias, dscale, dgamma, dbeta; empty for what is not there."""
    out, inside = weight.shape
    scaled, normed = 0 if skip is None else out, 0 if gamma is None else inside
    sums = [x.new_empty(parts, *size) for size in ((out, inside), (out,), (scaled,), (normed,), (normed,))]
    return x.new_empty(x.shape), x.new_empty(0 if skip is None else x.shape[0], out), sums


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    x, weight, bias, gamma, beta, residual, skip, scale, ctx.eps, ctx.gelu = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x, weight, bias, gamma, beta, skip, scale)


def _gradient(ctx, dy):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    tensors = ctx.saved_tensors
    _, _, bias, gamma, _, skip, _ = tensors
    backward = torch.ops.mambairv2.linear_backward_cpu
    dx, dskip, dweight, dbias, dscale, dgamma, dbeta = backward(dy, *tensors, ctx.eps, ctx.gelu)
    normed = (dgamma, dbeta) if gamma is not None else (None, None)
    skipped = (dskip, dscale) if skip is not None else (None, None)
    dresidual = dy if ctx.has_residual else None
    return dx, dweight, dbias if bias is not None else None, *normed, dresidual, *skipped, None, None


_linear.register_autograd(_gradient, setup_context=_save)
