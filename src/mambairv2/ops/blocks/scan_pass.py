"""The attentive scan from the layer norm before it to the map behind it: one call, and one gradient.

Shape legend: B batch, H W height and width, L = H·W tokens, E channels, D channels of the scan, N states, R rank of the
steps, K kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambairv2.ops.backend_choice import DenseBackend, ScanBackend, dense_backend, scan_backend
from mambairv2.ops.blocks.conv_block import ConvBlock, conv_block
from mambairv2.ops.blocks.conv_block import backward as conv_backward
from mambairv2.ops.blocks.conv_block import forward as conv_forward
from mambairv2.ops.dense.depthwise import MAX_KERNEL, MODES
from mambairv2.ops.dense.linear import Linear, linear, linear_backward, linear_forward
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import pointer
from mambairv2.ops.registration import block_operator
from mambairv2.ops.scan.arguments import Scan, prompt_gradient
from mambairv2.ops.scan.native import check_order, scan_backward, scan_forward
from mambairv2.ops.scan.selective_scan import selective_scan


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


def scan_pass(given: ScanPass, *, backend: ScanBackend = "auto", dense: DenseBackend = "auto") -> Tensor:
    """Return x + out(norm(y)), y the scan of u = depthwise(into(norm(x))) with delta, B and C made from u.

    backend: as `selective_scan` takes it; dense: as `linear`. Floating point of one dtype. Returns (B, H, W, E).
    Raises what these raise.
    """
    on_native = scan_backend(given.x, backend, given.A.shape[1]) == dense_backend(given.x, dense) == "native"
    if on_native and given.taps.shape[-1] <= MAX_KERNEL:
        return _run(*given)
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


class _Parts(NamedTuple):
    """What the backward pass needs: of the map, of the convolution, u, of `project`, the steps, y and its states."""

    hidden: Tensor
    conv: Tensor
    u: Tensor
    projected: Tensor
    delta: Tensor
    y: Tensor
    states: Tensor


def _outputs(given: ScanPass, keep: bool) -> tuple[Tensor, ...]:
    (batch, height, width, _), (hidden, n) = given.x.shape, given.A.shape
    chunks, tokens = -(-height * width // loader.CHUNK), (batch, height * width)
    image, row = (batch, height, width, hidden), (*tokens, hidden)
    kept = (image, image, row, (*tokens, len(given.project)), row, row, (batch, chunks, n, hidden))
    new = given.x.new_empty
    return new(given.x.shape), *(new(shape if keep else 0) for shape in kept)


def _forward(given: ScanPass, keep: bool) -> tuple[Tensor, ...]:
    loader.check_dtype(*given[:17])
    hidden, rank = given.delta_weight.shape
    if not keep and hidden == given.x.shape[-1] and rank <= loader.MAX_RANK:
        y, *nothing = _outputs(given, keep)
        _fused(given, y)
        return y, *nothing
    u, inner, conv, _ = conv_forward(_first(given), keep)
    u = u.flatten(1, 2)
    projected = linear_forward(_project(given, u))
    dt, B, C = _split(given, projected)
    delta = linear_forward(_steps(given, dt))
    y, _, states = scan_forward(_scan(given, u, delta, B, C), keep)
    out = linear_forward(_back(given, y)).view(given.x.shape)
    return out, *(_Parts(inner, conv, u, projected, delta, y, states) if keep else (out.new_empty(0) for _ in range(7)))


def _backward(dy: Tensor, given: ScanPass, parts: _Parts) -> list[Tensor | None]:
    dt, B, C = _split(given, parts.projected)
    dscanned, _, dout, dout_bias, dout_gamma, dout_beta, _ = linear_backward(dy.flatten(1, 2), _back(given, parts.y))
    scan = _scan(given, parts.u, parts.delta, B, C)
    du, ddelta, dA, dB, dC, dD, ddelta_bias = scan_backward(dscanned, scan, parts.states)
    ddt, _, ddelta_weight, *_ = linear_backward(ddelta, _steps(given, dt))
    dprojected = torch.cat((ddt, dB, dC), dim=-1)
    du, _, dproject, *_ = linear_backward(dprojected, _project(given, parts.u), around=du)
    first = conv_backward(du.view(parts.conv.shape), _first(given), parts.hidden, parts.conv, parts.u, around=dy)
    scanned = [dproject, ddelta_weight, ddelta_bias, dA, dD]
    return [*first[:7], *scanned, dout_gamma, dout_beta, dout, dout_bias, prompt_gradient(dC, given.order), None]


def _first(given: ScanPass) -> ConvBlock:
    return ConvBlock(*given[:7], *(None,) * 6, given.eps, 0.0, MODES.index("sigmoid"), False)


def _project(given: ScanPass, u: Tensor) -> Linear:
    return Linear(u, given.project, *(None,) * 6, 0.0, False)


def _split(given: ScanPass, projected: Tensor) -> list[Tensor]:
    n = given.A.shape[1]
    return list(projected.split((given.delta_weight.shape[1], n, n), dim=-1))


def _steps(given: ScanPass, dt: Tensor) -> Linear:
    return Linear(dt, given.delta_weight, *(None,) * 6, 0.0, False)


def _scan(given: ScanPass, u: Tensor, delta: Tensor, B: Tensor, C: Tensor) -> Scan:
    return Scan(u, delta, given.A, B, C, given.D, given.delta_bias, given.order, given.prompt)


def _back(given: ScanPass, y: Tensor) -> Linear:
    norm = (given.out_gamma, given.out_beta, given.x.flatten(1, 2), None, None, given.out_eps)
    return Linear(y, given.out, given.out_bias, *norm, False)


def _fused(given: ScanPass, y: Tensor) -> None:
    """Fill y in one call: u, y and the result share one place, so that their sizes must agree."""
    if given.order is not None:
        check_order(given.order)
    alive = [None if t is None else t.contiguous() for t in given[:18]]
    x, gamma, beta, into, into_bias, taps, taps_bias, project, delta_weight, *more = map(pointer, alive)
    delta_bias, A, D, out_gamma, out_beta, out, out_bias, prompt, order = more
    (batch, height, width, dim), states, threads = given.x.shape, given.A.shape[1], torch.get_num_threads()
    (wide, _), rank, kernel = given.project.shape, given.delta_weight.shape[1], given.taps.shape[-1]
    rows, sigmoid = batch * height * width, MODES.index("sigmoid")
    none, square = (None, None, None, None), (rows, dim, dim, dim)
    first = structs.LinearArgs(x, into, into_bias, gamma, beta, *none, *square, given.eps, 0, threads)
    conv = structs.DepthwiseArgs(
        *(None, taps, taps_bias, *none), *(batch, height, width, dim, kernel), *(0.0, sigmoid, threads)
    )
    scan = structs.ScanArgs(
        *(None, None, A, None, None, D, delta_bias, prompt, order, None, None, None),
        *(batch, height * width, dim, states),
        *(dim, wide, wide, wide, states),
        *(1, threads, delta_weight, rank),
    )
    projection = structs.LinearArgs(None, project, None, None, None, *none, rows, dim, wide, dim, 0.0, 0, threads)
    back = structs.LinearArgs(
        *(None, out, out_bias, out_gamma, out_beta, x, None, None, y.data_ptr()), *square, given.out_eps, 0, threads
    )
    block = structs.ConvBlockArgs(first, conv)
    loader.call("scan_pass_forward", y.dtype, structs.ScanPassArgs(block, projection, back, scan))


_run = block_operator(
    "scan_pass",
    "Tensor x, Tensor gamma, Tensor beta, Tensor into, Tensor into_bias, Tensor taps, Tensor taps_bias, "
    "Tensor project, Tensor delta_weight, Tensor delta_bias, Tensor A, Tensor D, Tensor out_gamma, Tensor out_beta, "
    "Tensor out, Tensor out_bias, Tensor prompt, Tensor? order, float eps, float out_eps",
    8,
    lambda *given: _forward(ScanPass(*given[:-1]), given[-1]),
    lambda dy, *given: _backward(dy, ScanPass(*given[:-7]), _Parts(*given[-7:])),
    lambda *given: _outputs(ScanPass(*given[:-1]), given[-1]),
)
