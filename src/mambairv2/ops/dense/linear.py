"""A linear map with the layer norm before it and what is added behind it, as one pass over the tokens.

Shape legend: ... any leading sizes, K channels in, N channels out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.backend_choice import DenseBackend, Products, dense_backend, rounds
from mambairv2.ops.library import loader, structs
from mambairv2.ops.registration import define, needs_gradient, schema_of

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
    products: Products = "float32",
) -> Tensor:
    """Return act(W norm(x) + bias) + residual + scale · skip.

    x: (..., K). weight: (N, K). bias: (N,). norm: weight (K,), bias (K,) and epsilon of a layer norm of x. gelu:
    act is the exact GELU, else nothing. residual, skip: (..., N); scale, given with skip: (N,). overwrite: the
    caller does not read x again, and without gradients the result may take its memory. products: as `Backends` says.
    Floating point of one dtype; `native` takes float32 and float64. Returns (..., N). Raises ValueError for another
    dtype with `native`, RuntimeError where it is not available.
    """
    if dense_backend(x, backend) == "native":
        gamma, beta, eps = norm if norm is not None else (None, None, 0.0)
        given = (x, weight, bias, gamma, beta, residual, skip, scale)
        how = (eps, gelu, rounds(products, *given))
        fits = norm is not None and weight.shape[0] == weight.shape[1] and x.is_contiguous()
        if overwrite and fits and not needs_gradient(*given):
            _run_in_place(*given, *how)
            return x
        y: Tensor = _run(*given, *how)
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
    bias: Tensor | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None
    residual: Tensor | None = None
    skip: Tensor | None = None
    scale: Tensor | None = None
    eps: float = 0.0
    gelu: bool = False
    bfloat16: bool = False

    def factors(self) -> torch.dtype:
        """What is multiplied."""
        return torch.bfloat16 if self.bfloat16 else self.x.dtype


class LinearGradients(NamedTuple):
    """The gradients of a map; those of what is not there are empty."""

    x: Tensor
    skip: Tensor
    weight: Tensor
    bias: Tensor
    gamma: Tensor
    beta: Tensor
    scale: Tensor


_LINEAR = schema_of(Linear)


def linear_args(linear: Linear, y: Tensor | None) -> structs.LinearArgs:
    """Fill the C struct of a map whose result goes to y."""
    *tensors, _, _, _ = linear
    loader.check_dtype(*tensors)
    x = linear.x.reshape(-1, linear.x.shape[-1])  # here and not before: a view would cost a node of autograd
    x = x if x.stride(1) == 1 and x.stride(0) >= x.shape[1] else x.contiguous()
    return structs.LinearArgs(
        x=x,
        weight=linear.weight.contiguous(),
        bias=_contiguous(linear.bias),
        gamma=_contiguous(linear.gamma),
        beta=_contiguous(linear.beta),
        residual=_contiguous(linear.residual),
        skip=_contiguous(linear.skip),
        scale=_contiguous(linear.scale),
        y=y,
        rows=x.shape[0],
        inside=x.shape[1],
        outside=linear.weight.shape[0],
        x_stride=x.stride(0),
        eps=linear.eps,
        gelu=linear.gelu,
        threads=torch.get_num_threads(),
    )


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _output(linear: Linear) -> Tensor:
    return linear.x.new_empty(*linear.x.shape[:-1], linear.weight.shape[0])


def linear_forward(linear: Linear) -> Tensor:
    """Return the map by the native kernels."""
    y = _output(linear)
    loader.call("linear_forward", linear.factors(), linear_args(linear, y))
    return y


def linear_backward(dy: Tensor, linear: Linear, around: Tensor | None = None) -> LinearGradients:
    """Return the gradients by the native kernels; around, what x gets from elsewhere (as x), is added to that of x."""
    forward, gradients = linear_args(linear, None), _gradients(linear)
    args = structs.LinearGradArgs(
        forward=forward,
        dy=dy.contiguous(),
        around=None if around is None else around.contiguous(),
        dx=gradients.x,
        dskip=gradients.skip,
        dweight=gradients.weight,
        dbias=gradients.bias,
        dgamma=gradients.gamma,
        dbeta=gradients.beta,
        dscale=gradients.scale,
        parts=loader.parts_for(forward.rows // 256),
    )
    loader.call("linear_backward", dy.dtype, args)
    return gradients


def _gradients(linear: Linear) -> LinearGradients:
    """Room for the gradients."""
    (outside, inside), new = linear.weight.shape, linear.x.new_empty
    normed = 0 if linear.gamma is None else inside
    return LinearGradients(
        x=new(linear.x.shape),
        skip=new(0 if linear.skip is None else linear.skip.shape),
        weight=new(outside, inside),
        bias=new(outside),
        gamma=new(normed),
        beta=new(normed),
        scale=new(0 if linear.skip is None else outside),
    )


_run_backward = define(
    "linear_backward_native",
    f"(Tensor dy, {_LINEAR}) -> Tensor[]",
    lambda dy, *given: list(linear_backward(dy, Linear(*given))),
    lambda _, *given: list(_gradients(Linear(*given))),
)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    linear = Linear(*inputs)
    ctx.has_residual = linear.residual is not None
    *tensors, ctx.eps, ctx.gelu, _ = linear._replace(residual=None)
    ctx.save_for_backward(*tensors)


def _gradient(ctx, dy):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    linear = Linear._make((*ctx.saved_tensors, ctx.eps, ctx.gelu, False))
    grads = LinearGradients(*_run_backward(dy, *linear))
    return (
        grads.x,
        grads.weight,
        None if linear.bias is None else grads.bias,
        None if linear.gamma is None else grads.gamma,
        None if linear.beta is None else grads.beta,
        dy if ctx.has_residual else None,
        None if linear.skip is None else grads.skip,
        None if linear.scale is None else grads.scale,
        None,
        None,
        None,
    )


def _in_place(linear: Linear) -> None:
    # A block of tokens is normalised into a buffer before its results are written.
    loader.call("linear_forward", linear.factors(), linear_args(linear, linear.x))


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
