"""A linear map, a depthwise convolution and a linear map back: one pass over the image where no gradient is asked for.

Shape legend: B batch, H W height and width, E channels in and out, F channels of the first map, D of the convolution
(F, or half of it with a gate), K its kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops import native
from mambairv2.ops.depthwise import MAX_KERNEL, MODES, Mode, depthwise
from mambairv2.ops.linear import Affine, Backend, Norm, linear, use_native
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import define, needs_gradient

# With more channels between the maps a tile no longer stays in cache, and its border costs more than it saves.
MAX_CHANNELS = 96


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
    backend: Backend = "auto",
) -> Tensor:
    """Return t = depthwise(act(first(norm(x)))), or x + last(t) + scale · skip where there is a last map.

    x: (B, H, W, E). norm: weight (E,), bias (E,) and epsilon. first: weight (F, E), bias (F,). taps: weight
    (D, 1, K, K), bias (D,). mode, conv_norm: as `depthwise` takes them. gelu: act is GELU, else nothing. last: weight
    (E, D), bias (E,). skip: (B, H, W, E); scale, given with skip: (E,). Floating point of one dtype.
    Returns (B, H, W, D), or (B, H, W, E) with a last map. Raises what `linear` and `depthwise` raise.
    """
    weights = (*norm[:2], *first, *taps, *(() if conv_norm is None else conv_norm[:2]), *(last or ()))
    small = len(first[0]) <= MAX_CHANNELS and taps[0].shape[-1] <= MAX_KERNEL
    if small and use_native(x, backend) and not needs_gradient(x, *weights, skip, scale):
        gamma, beta, eps = conv_norm or (None, None, 0.0)
        given = (x, *norm[:2], *first, *taps, gamma, beta, *(last or (None, None)), skip, scale)
        y: Tensor = _run(*given, norm[2], eps, MODES.index(mode), gelu)
        return y
    t = linear(x, *first, norm=norm, gelu=gelu, backend=backend)
    t = depthwise(t, *taps, mode, norm=conv_norm, backend=backend)
    return t if last is None else linear(t, *last, residual=x, skip=skip, scale=scale, backend=backend)


class _ConvBlock(NamedTuple):
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


def _output(given: _ConvBlock) -> Tensor:
    return given.x.new_empty(*given.x.shape[:3], len(given.taps if given.last is None else given.last))


def _forward(given: _ConvBlock) -> Tensor:
    native.check_dtype(*given[:13])
    y, threads = _output(given), torch.get_num_threads()
    alive = [None if t is None else t.contiguous() for t in given[:13]]
    x, gamma, beta, weight, bias, taps, taps_bias, *more = map(pointer, alive)
    conv_gamma, conv_beta, last, last_bias, skip, scale = more
    to_conv, to_last = (y.data_ptr(), None) if last is None else (None, y.data_ptr())
    *image, inside = given.x.shape
    rows, hidden, channels, kernel = math.prod(image), len(given.weight), len(given.taps), given.taps.shape[-1]
    none = (None, None, None, None)
    first = native.LinearArgs(
        *(x, weight, bias, gamma, beta, *none), *(rows, inside, hidden, inside), given.eps, int(given.gelu), threads
    )
    conv = native.DepthwiseArgs(
        *(None, taps, taps_bias, conv_gamma, conv_beta, to_conv, None),
        *(*image, channels, kernel),
        *(given.conv_eps, given.mode, threads),
    )
    back = native.LinearArgs(
        *(None, last, last_bias, None, None, x, skip, scale, to_last),
        *(rows, channels, inside, channels, 0.0, 0, threads),
    )
    native.call("conv_block_forward", y.dtype, native.ConvBlockArgs(first, conv, back))
    return y


_run = define(
    "conv_block_cpu",
    "(Tensor x, Tensor gamma, Tensor beta, Tensor weight, Tensor bias, Tensor taps, Tensor taps_bias, "
    "Tensor? conv_gamma, Tensor? conv_beta, Tensor? last, Tensor? last_bias, Tensor? skip, Tensor? scale, float eps, "
    "float conv_eps, int mode, bool gelu) -> Tensor",
    lambda *given: _forward(_ConvBlock(*given)),
    lambda *given: _output(_ConvBlock(*given)),
)
