"""A linear map, a depthwise convolution and a linear map back, in one pass over the image where no gradient is asked for.

Shape legend: B batch, H W height and width, E channels in and out, F channels of the first map, D of the convolution
(F, or half of it with a gate), K its kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops import native
from mambairv2.ops.depthwise import MAX_KERNEL, MODES, Mode, depthwise
from mambairv2.ops.linear import Backend, Norm, linear, use_native
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import define, needs_gradient

Affine = tuple[Tensor, Tensor]
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


def _outputs(x: Tensor, taps: Tensor, last: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:3], len(taps if last is None else last))


def _forward(*given: Tensor | float) -> Tensor:
    *tensors, eps, conv_eps, mode, gelu = given
    native.check_dtype(*tensors)
    x, gamma, beta, weight, bias, taps, taps_bias, conv_gamma, conv_beta, last, last_bias, skip, scale = (
        None if t is None else t.contiguous() for t in tensors
    )
    y = _outputs(x, taps, last)
    rows, inside, threads = x.numel() // x.shape[-1], x.shape[-1], torch.get_num_threads()
    pointers = map(pointer, (x, weight, bias, gamma, beta, None, None, None, None))
    first = native.LinearArgs(*pointers, rows, inside, len(weight), inside, eps, int(gelu), threads)
    pointers = map(pointer, (None, taps, taps_bias, conv_gamma, conv_beta, None if last is not None else y, None))
    sizes = (*x.shape[:3], len(taps), taps.shape[-1])
    conv = native.DepthwiseArgs(*pointers, *sizes, conv_eps, mode, threads)
    pointers = map(pointer, (None, last, last_bias, None, None, x, skip, scale, y))
    back = native.LinearArgs(*pointers, rows, len(taps), y.shape[-1], len(taps), 0.0, 0, threads)
    native.call("conv_block_forward", x.dtype, native.ConvBlockArgs(first, conv, back))
    return y


_run = define(
    "conv_block_cpu",
    "(Tensor x, Tensor gamma, Tensor beta, Tensor weight, Tensor bias, Tensor taps, Tensor taps_bias, Tensor? conv_gamma, "
    "Tensor? conv_beta, Tensor? last, Tensor? last_bias, Tensor? skip, Tensor? scale, float eps, float conv_eps, int mode, "
    "bool gelu) -> Tensor",
    _forward,
    lambda x, *given: _outputs(x, given[4], given[8]),
)
