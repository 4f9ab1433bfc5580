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
from mambairv2.ops.dense.depthwise import MODES
from mambairv2.ops.dense.linear import Linear, linear, linear_backward, linear_forward
from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import MAX_KERNEL
from mambairv2.ops.registration import block_operator, contiguous
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
        return _run(given)
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


def _backward(dy: Tensor, given: ScanPass, *kept: Tensor) -> list[Tensor | None]:
    parts = _Parts(*kept)
    dt, B, C = _split(given, parts.projected)
    out = linear_backward(dy.flatten(1, 2), _back(given, parts.y))
    scan = scan_backward(out.x, _scan(given, parts.u, parts.delta, B, C), parts.states)
    steps = linear_backward(scan.delta, _steps(given, dt))
    dprojected = torch.cat((steps.x, scan.B, scan.C), dim=-1)
    project = linear_backward(dprojected, _project(given, parts.u), around=scan.u)
    du = project.x.view(parts.conv.shape)
    first = conv_backward(du, _first(given), parts.hidden, parts.conv, parts.u, around=dy)
    dx, dgamma, dbeta, dinto, dinto_bias, dtaps, dtaps_bias, *_ = first
    scanned = [project.weight, steps.weight, scan.delta_bias, scan.A, scan.D]
    behind = [out.gamma, out.beta, out.weight, out.bias, prompt_gradient(scan.C, given.order), None]
    return [dx, dgamma, dbeta, dinto, dinto_bias, dtaps, dtaps_bias, *scanned, *behind]


def _first(given: ScanPass) -> ConvBlock:
    return ConvBlock(
        x=given.x,
        gamma=given.gamma,
        beta=given.beta,
        weight=given.into,
        bias=given.into_bias,
        taps=given.taps,
        taps_bias=given.taps_bias,
        conv_gamma=None,
        conv_beta=None,
        last=None,
        last_bias=None,
        skip=None,
        scale=None,
        eps=given.eps,
        conv_eps=0.0,
        mode=MODES.index("sigmoid"),
        gelu=False,
    )


def _project(given: ScanPass, u: Tensor) -> Linear:
    return Linear(u, given.project)


def _split(given: ScanPass, projected: Tensor) -> list[Tensor]:
    n = given.A.shape[1]
    return list(projected.split((given.delta_weight.shape[1], n, n), dim=-1))


def _steps(given: ScanPass, dt: Tensor) -> Linear:
    return Linear(dt, given.delta_weight)


def _scan(given: ScanPass, u: Tensor, delta: Tensor, B: Tensor, C: Tensor) -> Scan:
    return Scan(u, delta, given.A, B, C, given.D, given.delta_bias, given.order, given.prompt)


def _back(given: ScanPass, y: Tensor) -> Linear:
    norm = (given.out_gamma, given.out_beta)
    return Linear(y, given.out, given.out_bias, *norm, residual=given.x.flatten(1, 2), eps=given.out_eps)


def _fused(given: ScanPass, y: Tensor) -> None:
    """Fill y in one call: u, y and the result share one place, so that their sizes must agree."""
    *tensors, order, eps, out_eps = given
    loader.check_dtype(*tensors)
    if order is not None:
        check_order(order)
    given = contiguous(given)
    (batch, height, width, dim), n, threads = given.x.shape, given.A.shape[1], torch.get_num_threads()
    (wide, _), rows = given.project.shape, batch * height * width
    first = structs.LinearArgs(
        x=given.x,
        weight=given.into,
        bias=given.into_bias,
        gamma=given.gamma,
        beta=given.beta,
        rows=rows,
        inside=dim,
        outside=dim,
        x_stride=dim,
        eps=eps,
        threads=threads,
    )
    conv = structs.DepthwiseArgs(
        weight=given.taps,
        bias=given.taps_bias,
        batch=batch,
        height=height,
        width=width,
        channels=dim,
        kernel=given.taps.shape[-1],
        mode=MODES.index("sigmoid"),
        threads=threads,
    )
    project = structs.LinearArgs(
        weight=given.project, rows=rows, inside=dim, outside=wide, x_stride=dim, threads=threads
    )
    back = structs.LinearArgs(
        weight=given.out,
        bias=given.out_bias,
        gamma=given.out_gamma,
        beta=given.out_beta,
        residual=given.x,
        y=y,
        rows=rows,
        inside=dim,
        outside=dim,
        x_stride=dim,
        eps=out_eps,
        threads=threads,
    )
    scan = structs.ScanArgs(
        A=given.A,
        D=given.D,
        bias=given.delta_bias,
        prompt=given.prompt,
        order=given.order,
        batch=batch,
        length=height * width,
        channels=dim,
        n=n,
        u_stride=dim,
        delta_stride=wide,
        B_stride=wide,
        C_stride=wide,
        prompt_stride=n,
        softplus=True,
        threads=threads,
        delta_weight=given.delta_weight,
        rank=given.delta_weight.shape[1],
    )
    block = structs.ConvBlockArgs(first=first, conv=conv)
    args = structs.ScanPassArgs(into=block, project=project, back=back, scan=scan)
    loader.call("scan_pass_forward", y.dtype, args)


_run = block_operator("scan_pass", ScanPass, 7, _forward, _backward, _outputs)
