"""The attentive scan from the layer norm before it to the map behind it: one call where no gradient is asked for.

Shape legend: B batch, H W height and width, L = H·W tokens, E channels, D channels of the scan, N states, R rank of the
steps, K kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops import cpu, native
from mambairv2.ops.conv_block import MAX_CHANNELS, conv_block
from mambairv2.ops.depthwise import MAX_KERNEL, MODES
from mambairv2.ops.linear import Backend as DenseBackend
from mambairv2.ops.linear import linear, use_native
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import define, needs_gradient
from mambairv2.ops.selective_scan import Backend, choose_backend, selective_scan


class ScanPass(NamedTuple):
    """What the pass takes: x (B, H, W, E), and order (B, L) int64 and prompt (B, L, N) as `selective_scan` has them.

    gamma, beta (E,), eps: the layer norm before. into (D, E), into_bias (D,): the map to the scan's channels.
    taps (D, 1, K, K), taps_bias (D,): the depthwise convolution, a sigmoid gate. project (R + 2N, D): to the steps, B
    and C. delta_weight (D, R), delta_bias (D,), A (D, N), D (D,): of the scan. out_gamma, out_beta (D,), out_eps: the
    layer norm behind. out (E, D), out_bias (E,): the map behind.
    """

    x: Tensor
    gamma: Tensor
    beta: Tensor
    into: Tensor
    into_bias: Tensor
    taps: Tensor
    taps_bias: Tensor
    project: Tensor
    delta_weight: Tensor
    delta_bias: Tensor
    A: Tensor
    D: Tensor
    out_gamma: Tensor
    out_beta: Tensor
    out: Tensor
    out_bias: Tensor
    prompt: Tensor
    order: Tensor | None
    eps: float
    out_eps: float


def scan_pass(given: ScanPass, *, backend: Backend = "auto", dense: DenseBackend = "auto") -> Tensor:
    """Return x + out(norm(y)), y the scan of u = depthwise(into(norm(x))) with delta, B and C made from u.

    backend: as `selective_scan` takes it; dense: as `linear`. Floating point of one dtype. Returns (B, H, W, E).
    Raises what these raise.
    """
    if _fits(given, backend, dense):
        y: Tensor = _run(*given)
        return y
    (batch, height, width, dim), states = given.x.shape, given.A.shape[1]
    norm = (given.gamma, given.beta, given.eps)
    into, taps = (given.into, given.into_bias), (given.taps, given.taps_bias)
    u = conv_block(given.x, norm, into, taps, "sigmoid", backend=dense).reshape(batch, height * width, -1)
    dt, B, C = linear(u, given.project, backend=dense).split((given.delta_weight.shape[1], states, states), dim=-1)
    delta = linear(dt, given.delta_weight, backend=dense)
    scan = (u, delta, given.A, B, C, given.D, given.delta_bias)
    y, _ = selective_scan(*scan, order=given.order, prompt=given.prompt, backend=backend)
    norm, residual = (given.out_gamma, given.out_beta, given.out_eps), given.x.reshape(batch, height * width, dim)
    return linear(y, given.out, given.out_bias, norm=norm, residual=residual, backend=dense).view(given.x.shape)


def _fits(given: ScanPass, backend: Backend, dense: DenseBackend) -> bool:
    """Return whether the kernel can take it: u, y and the result share one place, so that their sizes must agree."""
    hidden, rank = given.delta_weight.shape
    return (
        hidden == given.x.shape[-1] <= MAX_CHANNELS
        and rank <= native.MAX_RANK
        and given.taps.shape[-1] <= MAX_KERNEL
        and use_native(given.x, dense)
        and choose_backend(given.x, backend, given.A.shape[1]) == "cpu"
        and not needs_gradient(*given[:17])
    )


def _forward(given: ScanPass) -> Tensor:
    native.check_dtype(*given[:17])
    if given.order is not None:
        cpu.check_order(given.order)
    alive = [None if t is None else t.contiguous() for t in given[:18]]
    x, gamma, beta, into, into_bias, taps, taps_bias, project, delta_weight, *more = map(pointer, alive)
    delta_bias, A, D, out_gamma, out_beta, out, out_bias, prompt, order = more
    y = torch.empty_like(given.x, memory_format=torch.contiguous_format)
    (batch, height, width, dim), states, threads = given.x.shape, given.A.shape[1], torch.get_num_threads()
    (wide, _), rank, kernel = given.project.shape, given.delta_weight.shape[1], given.taps.shape[-1]
    rows, sigmoid = batch * height * width, MODES.index("sigmoid")
    none, square = (None, None, None, None), (rows, dim, dim, dim)
    first = native.LinearArgs(x, into, into_bias, gamma, beta, *none, *square, given.eps, 0, threads)
    conv = native.DepthwiseArgs(
        *(None, taps, taps_bias, *none), *(batch, height, width, dim, kernel), *(0.0, sigmoid, threads)
    )
    scan = native.ScanArgs(
        *(None, None, A, None, None, D, delta_bias, prompt, order, None, None, None),
        *(batch, height * width, dim, states),
        *(dim, wide, wide, wide, states),
        *(1, threads, delta_weight, rank),
    )
    projection = native.LinearArgs(None, project, None, None, None, *none, rows, dim, wide, dim, 0.0, 0, threads)
    back = native.LinearArgs(
        *(None, out, out_bias, out_gamma, out_beta, x, None, None, y.data_ptr()), *square, given.out_eps, 0, threads
    )
    block = native.ConvBlockArgs(first, conv)
    native.call("scan_pass_forward", y.dtype, native.ScanPassArgs(block, projection, back, scan))
    return y


_run = define(
    "scan_pass_cpu",
    "(Tensor x, Tensor gamma, Tensor beta, Tensor into, Tensor into_bias, Tensor taps, Tensor taps_bias, "
    "Tensor project, Tensor delta_weight, Tensor delta_bias, Tensor A, Tensor D, Tensor out_gamma, Tensor out_beta, "
    "Tensor out, Tensor out_bias, Tensor prompt, Tensor? order, float eps, float out_eps) -> Tensor",
    lambda *given: _forward(ScanPass(*given)),
    lambda x, *_: x.new_empty(x.shape),
)
