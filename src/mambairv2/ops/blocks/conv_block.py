"""A linear map, a depthwise convolution and a linear map back: one gradient, and one pass where none is asked for.

Shape legend: B batch, H W height and width, E channels in and out, F channels of the first map, D of the convolution
(F, or half of it with a gate), K its kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops.backend_choice import DenseBackend, Products, dense_backend, rounds
from mambairv2.ops.dense.depthwise import (
    MODES,
    Depthwise,
    Mode,
    depthwise,
    depthwise_backward,
    depthwise_forward,
)
from mambairv2.ops.dense.linear import (
    Affine,
    Linear,
    Norm,
    linear,
    linear_backward,
    linear_forward,
)
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import MAX_KERNEL
from mambairv2.ops.registration import block_operator, contiguous


def conv_block(
    x: Tensor,
    norm: Norm,
    first: Affine,
    taps: Affine,
    mode: Mode,
    *,
    gelu: bool = False,
    conv_norm: Norm | None = None,
    last: Affine | None = None,
    skip: Tensor | None = None,
    scale: Tensor | None = None,
    backend: DenseBackend = "auto",
    products: Products = "float32",
) -> Tensor:
    """Return t = depthwise(act(first(norm(x)))), or x + last(t) + scale · skip where there is a last map.

    x: (B, H, W, E). norm: weight (E,), bias (E,) and epsilon. first: weight (F, E), bias (F,). taps: weight
    (D, 1, K, K), bias (D,). mode, conv_norm: as `depthwise` takes them. gelu: act is GELU, else nothing. last: weight
    (E, D), bias (E,). skip: (B, H, W, E); scale, given with skip: (E,). products: as `Backends` says, in the
    maps. Floating point of one dtype.
    Returns (B, H, W, D), or (B, H, W, E) with a last map. Raises what `linear` raises.
    """
    if dense_backend(x, backend) == "native" and taps[0].shape[-1] <= MAX_KERNEL:
        gamma, beta, eps = norm
        conv_gamma, conv_beta, conv_eps = conv_norm or (None, None, 0.0)
        weight, bias = first
        conv, conv_bias = taps
        back, back_bias = last or (None, None)
        given = ConvBlock(
            x=x,
            gamma=gamma,
            beta=beta,
            weight=weight,
            bias=bias,
            taps=conv,
            taps_bias=conv_bias,
            conv_gamma=conv_gamma,
            conv_beta=conv_beta,
            last=back,
            last_bias=back_bias,
            skip=skip,
            scale=scale,
            eps=eps,
            conv_eps=conv_eps,
            mode=MODES.index(mode),
            gelu=gelu,
        )
        *tensors, _, _, _, _, _ = given
        return _run(given._replace(bfloat16=rounds(products, *tensors)))
    t = linear(x, *first, norm=norm, gelu=gelu, backend=backend, products=products)
    t = depthwise(t, *taps, mode, norm=conv_norm)
    if last is None:
        return t
    return linear(t, *last, residual=x, skip=skip, scale=scale, backend=backend, products=products)


class ConvBlock(NamedTuple):
    """What `conv_block` takes, tensors first."""

    x: Tensor
    gamma: Tensor
    beta: Tensor
    weight: Tensor
    bias: Tensor
    taps: Tensor
    taps_bias: Tensor
    conv_gamma: Tensor | None
    conv_beta: Tensor | None
    last: Tensor | None
    last_bias: Tensor | None
    skip: Tensor | None
    scale: Tensor | None
    eps: float
    conv_eps: float
    mode: int
    gelu: bool
    bfloat16: bool = False

    def into(self) -> Linear:
        """The first map."""
        return Linear(self.x, self.weight, self.bias, self.gamma, self.beta, eps=self.eps, gelu=self.gelu)

    def between(self, hidden: Tensor) -> Depthwise:
        """The convolution."""
        norm = (self.conv_gamma, self.conv_beta)
        return Depthwise(hidden, self.taps, self.taps_bias, *norm, self.mode, self.conv_eps)

    def back(self, joined: Tensor) -> Linear:
        """The last map, which is there."""
        assert self.last is not None
        return Linear(joined, self.last, self.last_bias, residual=self.x, skip=self.skip, scale=self.scale)


def _outputs(given: ConvBlock, keep: bool) -> tuple[Tensor, ...]:
    """Room for the result, and what is kept: of the first map, the convolution, and before a last map what it reads."""
    image, inner, new = given.x.shape[:3], len(given.taps), given.x.new_empty
    result = inner if given.last is None else len(given.last)
    kept = (len(given.weight), inner, 0 if given.last is None else inner)
    return new(*image, result), *(new((*image, n) if keep and n else 0) for n in kept)


def forward(given: ConvBlock, keep: bool) -> tuple[Tensor, ...]:
    """Return the result, and what the backward pass reads if it is to be kept."""
    if not keep:
        y, *nothing = _outputs(given, keep)
        _fused(given, y)
        return y, *nothing
    hidden = linear_forward(given.into())
    joined, conv = depthwise_forward(given.between(hidden))
    y = joined if given.last is None else linear_forward(given.back(joined))
    return y, hidden, conv, y.new_empty(0) if joined is y else joined


def _fused(given: ConvBlock, y: Tensor) -> None:
    """Fill y in one pass."""
    *tensors, _, _, _, _, _ = given
    loader.check_dtype(*tensors)
    given = contiguous(given)
    (batch, height, width, inside), threads = given.x.shape, torch.get_num_threads()
    rows, channels = batch * height * width, len(given.taps)
    first = structs.LinearArgs(
        x=given.x,
        weight=given.weight,
        bias=given.bias,
        gamma=given.gamma,
        beta=given.beta,
        rows=rows,
        inside=inside,
        outside=len(given.weight),
        x_stride=inside,
        eps=given.eps,
        gelu=given.gelu,
        threads=threads,
    )
    conv = structs.DepthwiseArgs(
        weight=given.taps,
        bias=given.taps_bias,
        gamma=given.conv_gamma,
        beta=given.conv_beta,
        y=y if given.last is None else None,
        batch=batch,
        height=height,
        width=width,
        channels=channels,
        kernel=given.taps.shape[-1],
        eps=given.conv_eps,
        mode=given.mode,
        threads=threads,
    )
    last = structs.LinearArgs(
        weight=given.last,
        bias=given.last_bias,
        residual=given.x,
        skip=given.skip,
        scale=given.scale,
        y=None if given.last is None else y,
        rows=rows,
        inside=channels,
        outside=inside,
        x_stride=channels,
        threads=threads,
    )
    args = structs.ConvBlockArgs(first=first, conv=conv, last=last)
    loader.call("conv_block_forward", torch.bfloat16 if given.bfloat16 else y.dtype, args)


def backward(
    dy: Tensor, given: ConvBlock, hidden: Tensor, conv: Tensor, joined: Tensor, around: Tensor | None = None
) -> list[Tensor | None]:
    """Return the gradients of the tensors given; around, what x gets from elsewhere, is added to that of x."""
    back: list[Tensor | None] = [None, None, None, None]
    if given.last is not None:
        last = linear_backward(dy, given.back(joined))
        back, around, dy = [last.weight, last.bias, last.skip, last.scale], dy, last.x
    taps = depthwise_backward(dy, given.between(hidden), conv)
    first = linear_backward(taps.x, given.into(), around)
    grads = [first.x, first.gamma, first.beta, first.weight, first.bias, taps.weight, taps.bias, taps.gamma, taps.beta]
    return [*grads, *back]


_run = block_operator("conv_block", ConvBlock, 3, forward, backward, _outputs)
