"""A linear map, a depthwise convolution and a linear map back: one gradient, and one pass where none is asked for.

Shape legend: B batch, H W height and width, E channels in and out, F channels of the first map, D of the convolution
(F, or half of it with a gate), K its kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops.backend_choice import DenseBackend, dense_backend
from mambairv2.ops.dense.depthwise import (
    MAX_KERNEL,
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
from mambairv2.ops.library.loader import pointer
from mambairv2.ops.registration import block_operator


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
) -> Tensor:
    """Return t = depthwise(act(first(norm(x)))), or x + last(t) + scale · skip where there is a last map.

    x: (B, H, W, E). norm: weight (E,), bias (E,) and epsilon. first: weight (F, E), bias (F,). taps: weight
    (D, 1, K, K), bias (D,). mode, conv_norm: as `depthwise` takes them. gelu: act is GELU, else nothing. last: weight
    (E, D), bias (E,). skip: (B, H, W, E); scale, given with skip: (E,). Floating point of one dtype.
    Returns (B, H, W, D), or (B, H, W, E) with a last map. Raises what `linear` raises.
    """
    if dense_backend(x, backend) == "native" and taps[0].shape[-1] <= MAX_KERNEL:
        gamma, beta, eps = conv_norm or (None, None, 0.0)
        given = (x, *norm[:2], *first, *taps, gamma, beta, *(last or (None, None)), skip, scale)
        return _run(*given, norm[2], eps, MODES.index(mode), gelu)
    t = linear(x, *first, norm=norm, gelu=gelu, backend=backend)
    t = depthwise(t, *taps, mode, norm=conv_norm)
    return t if last is None else linear(t, *last, residual=x, skip=skip, scale=scale, backend=backend)


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

    def into(self) -> Linear:
        """The first map."""
        norm = (self.gamma, self.beta, None, None, None, self.eps)
        return Linear(self.x, self.weight, self.bias, *norm, self.gelu)

    def between(self, hidden: Tensor) -> Depthwise:
        """The convolution."""
        norm = (self.conv_gamma, self.conv_beta)
        return Depthwise(hidden, self.taps, self.taps_bias, *norm, self.mode, self.conv_eps)

    def back(self, joined: Tensor) -> Linear:
        """The last map, which is there."""
        assert self.last is not None
        more = (None, None, self.x, self.skip, self.scale, 0.0)
        return Linear(joined, self.last, self.last_bias, *more, False)


def _outputs(given: ConvBlock, keep: bool) -> tuple[Tensor, ...]:
    """Room for the result, and what is kept: of the first map, the convolution, and before a last map what it reads."""
    image, inner, new = given.x.shape[:3], len(given.taps), given.x.new_empty
    result = inner if given.last is None else len(given.last)
    kept = (len(given.weight), inner, 0 if given.last is None else inner)
    return new(*image, result), *(new((*image, n) if keep and n else 0) for n in kept)


def forward(given: ConvBlock, keep: bool) -> tuple[Tensor, ...]:
    """Return the result, and what the backward pass reads if it is to be kept."""
    loader.check_dtype(*given[:13])
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
    threads = torch.get_num_threads()
    alive = [None if t is None else t.contiguous() for t in given[:13]]
    x, gamma, beta, weight, bias, taps, taps_bias, *more = map(pointer, alive)
    conv_gamma, conv_beta, last, last_bias, skip, scale = more
    to_conv, to_last = (y.data_ptr(), None) if last is None else (None, y.data_ptr())
    *image, inside = given.x.shape
    rows, hidden, channels, kernel = math.prod(image), len(given.weight), len(given.taps), given.taps.shape[-1]
    none = (None, None, None, None)
    first = structs.LinearArgs(
        *(x, weight, bias, gamma, beta, *none), *(rows, inside, hidden, inside), given.eps, int(given.gelu), threads
    )
    conv = structs.DepthwiseArgs(
        *(None, taps, taps_bias, conv_gamma, conv_beta, to_conv, None),
        *(*image, channels, kernel),
        *(given.conv_eps, given.mode, threads),
    )
    back = structs.LinearArgs(
        *(None, last, last_bias, None, None, x, skip, scale, to_last),
        *(rows, channels, inside, channels, 0.0, 0, threads),
    )
    loader.call("conv_block_forward", y.dtype, structs.ConvBlockArgs(first, conv, back))


def backward(
    dy: Tensor, given: ConvBlock, hidden: Tensor, conv: Tensor, joined: Tensor, around: Tensor | None = None
) -> list[Tensor | None]:
    """Return the gradients of the tensors given; around, what x gets from elsewhere, is added to that of x."""
    dlast, dlast_bias, dskip, dscale = None, None, None, None
    if given.last is not None:
        around = dy
        dy, dskip, dlast, dlast_bias, _, _, dscale = linear_backward(dy, given.back(joined))
    dhidden, dtaps, dtaps_bias, dconv_gamma, dconv_beta = depthwise_backward(dy, given.between(hidden), conv)
    dx, _, dweight, dbias, dgamma, dbeta, _ = linear_backward(dhidden, given.into(), around)
    grads = [dx, dgamma, dbeta, dweight, dbias, dtaps, dtaps_bias, dconv_gamma, dconv_beta]
    return [*grads, dlast, dlast_bias, dskip, dscale]


_run = block_operator(
    "conv_block",
    "Tensor x, Tensor gamma, Tensor beta, Tensor weight, Tensor bias, Tensor taps, Tensor taps_bias, "
    "Tensor? conv_gamma, Tensor? conv_beta, Tensor? last, Tensor? last_bias, Tensor? skip, Tensor? scale, float eps, "
    "float conv_eps, int mode, bool gelu",
    4,
    lambda *given: forward(ConvBlock(*given[:-1]), given[-1]),
    lambda dy, *given: backward(dy, ConvBlock(*given[:-3]), *given[-3:]),
    lambda *given: _outputs(ConvBlock(*given[:-1]), given[-1]),
)
