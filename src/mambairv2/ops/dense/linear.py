"""A linear map with the layer norm before it and what is added behind it, as one pass over the tokens.

Shape legend: ... any leading sizes, K channels in, N channels out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.backend_choice import DenseBackend, dense_backend
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import pointer
from mambairv2.ops.registration import define, needs_gradient

Norm = tuple[Tensor, Tensor, float]
Affine = tuple[Tensor, Tensor]


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
    overwrite: bool = False,
    backend: DenseBackend = "auto",
) -> Tensor:
    """Return act(W norm(x) + bias) + residual + scale · skip.

    x: (..., K). weight: (N, K). bias: (N,). norm: weight (K,), bias (K,) and epsilon of a layer norm of x. gelu:
    act is the exact GELU, else nothing. residual, skip: (..., N); scale, given with skip: (N,). overwrite: the
    caller does not read x again, and without gradients the result may take its memory. Floating point of one dtype;
    `native` takes float32 and float64. Returns (..., N). Raises ValueError for another dtype with `native`,
    RuntimeError where it is not available.
    """
    if dense_backend(x, backend) == "native":
        gamma, beta, eps = norm if norm is not None else (None, None, 0.0)
        given = (x, weight, bias, gamma, beta, residual, skip, scale)
        fits = norm is not None and weight.shape[0] == weight.shape[1] and x.is_contiguous()
        if overwrite and fits and not needs_gradient(*given):
            _run_in_place(*given, eps, gelu)
            return x
        y: Tensor = _run(x, weight, bias, gamma, beta, residual, skip, scale, eps, gelu)
        return y
    if norm is not None:
        x = F.layer_norm(x, x.shape[-1:], *norm)
    y = F.linear(x, weight, bias)
    if gelu:
        y = F.gelu(y)
    if residual is not None:
        y = residual + y
    return y if skip is None or scale is None else scale * skip + y


class Linear(NamedTuple):
    """The arguments of a map, as `linear` says."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    gamma: Tensor | None
    beta: Tensor | None
    residual: Tensor | None
    skip: Tensor | None
    scale: Tensor | None
    eps: float
    gelu: bool


_LINEAR = (
    "Tensor x, Tensor weight, Tensor? bias, Tensor? gamma, Tensor? beta, Tensor? residual, Tensor? skip, "
    "Tensor? scale, float eps, bool gelu"
)


def _arguments(linear: Linear) -> tuple[structs.LinearArgs, list[Tensor | None]]:
    """Fill the C struct; the list keeps alive what it points to."""
    x, *given, eps, gelu = linear
    loader.check_dtype(x, *given)
    x = x.reshape(-1, x.shape[-1])  # here and not before: a view would cost a node of autograd
    x = x if x.stride(1) == 1 and x.stride(0) >= x.shape[1] else x.contiguous()
    alive = [x, *(None if t is None else t.contiguous() for t in given)]
    sizes = (x.shape[0], x.shape[1], linear.weight.shape[0], x.stride(0))
    args = structs.LinearArgs(*map(pointer, alive), None, *sizes, eps, int(gelu), torch.get_num_threads())
    return args, alive


def _output(linear: Linear) -> Tensor:
    return linear.x.new_empty(*linear.x.shape[:-1], linear.weight.shape[0])


def linear_forward(linear: Linear) -> Tensor:
    """Return the map by the native kernels."""
    args, _alive = _arguments(linear)
    y = _output(linear)
    args.y = y.data_ptr()
    loader.call("linear_forward", y.dtype, args)
    return y


def linear_backward(dy: Tensor, linear: Linear, around: Tensor | None = None) -> list[Tensor]:
    """Return dx, dskip, dweight, dbias, dgamma, dbeta and dscale by the native kernels, empty for what is not there.

    around: what x gets from elsewhere, as x; added to dx.
    """
    forward, _alive = _arguments(linear)
    dy, around = dy.contiguous(), None if around is None else around.contiguous()
    parts = loader.parts_for(forward.rows // 256)
    gradients = _gradients(linear)
    pointers = map(pointer, (dy, around, *gradients))
    loader.call("linear_backward", dy.dtype, structs.LinearGradArgs(forward, *pointers, parts))
    return gradients


def _gradients(linear: Linear) -> list[Tensor]:
    """Room for dx, dskip, dweight, dbias, dgamma, dbeta, dscale; empty for what is not there."""
    (out, inside), new = linear.weight.shape, linear.x.new_empty
    scaled, normed = 0 if linear.skip is None else out, 0 if linear.gamma is None else inside
    dskip = new(0 if linear.skip is None else linear.skip.shape)
    return [new(linear.x.shape), dskip, *(new(n) for n in ((out, inside), out, normed, normed, scaled))]


_run_backward = define(
    "linear_backward_native",
    f"(Tensor dy, {_LINEAR}) -> Tensor[]",
    lambda dy, *given: linear_backward(dy, Linear(*given)),
    lambda _, *given: _gradients(Linear(*given)),
)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    linear = Linear(*inputs)
    ctx.has_residual, ctx.options = linear.residual is not None, linear[8:]
    ctx.save_for_backward(*linear._replace(residual=None)[:8])


def _gradient(ctx, dy):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    saved = ctx.saved_tensors
    dx, dskip, dweight, dbias, dgamma, dbeta, dscale = _run_backward(dy, *saved, *ctx.options)
    dresidual = dy if ctx.has_residual else None
    grads = (dx, dweight, dbias, dgamma, dbeta, dresidual, dskip, dscale)
    given = (True, True, *(t is not None for t in saved[2:5]), True, *(t is not None for t in saved[6:]))
    return *(grad if there else None for grad, there in zip(grads, given, strict=True)), None, None


def _in_place(linear: Linear) -> None:
    # A block of tokens is normalised into a buffer before its results are written.
    args, _alive = _arguments(linear)
    args.y = linear.x.data_ptr()
    loader.call("linear_forward", linear.x.dtype, args)


_run_in_place = define(
    "linear_native_",
    f"({_LINEAR.replace('Tensor x', 'Tensor(a!) x', 1)}) -> ()",
    lambda *given: _in_place(Linear(*given)),
    lambda *given: None,
)
_run = define(
    "linear_native",
    f"({_LINEAR}) -> Tensor",
    lambda *given: linear_forward(Linear(*given)),
    lambda *given: _output(Linear(*given)),
    gradient=_gradient,
    save=_save,
)
