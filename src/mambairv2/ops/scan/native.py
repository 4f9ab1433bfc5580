"""The scan by the native kernels.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.library import loader, structs
from mambairv2.ops.registration import define
from mambairv2.ops.scan.arguments import Scan, ScanGradients, scan_operator


def scan_outputs(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y (B, L, D), the last state (B, D, N), and the states at each chunk's start (empty if not kept)."""
    batch, length, channels = scan.u.shape
    n = scan.A.shape[1]
    chunks = (length + loader.CHUNK - 1) // loader.CHUNK if keep_states else 0
    new = scan.u.new_empty
    return new(batch, length, channels), new(batch, channels, n), new(batch, chunks, n, channels)


def _scan_args(
    scan: Scan,
    y: Tensor | None,
    last: Tensor | None,
    states: Tensor | None,
    delta_weight: Tensor | None = None,
) -> structs.ScanArgs:
    """Fill the C struct; with a delta_weight (D, R) the delta of the scan is (B, L, R) and the kernel multiplies it."""
    loader.check_dtype(*scan.real())
    n = scan.A.shape[1]
    if n > loader.MAX_STATES:
        raise ValueError(f"the native scan takes up to {loader.MAX_STATES} states, got {n}")
    if scan.order is not None:
        check_order(scan.order)
    scan = scan.laid_out()
    batch, length, channels = scan.u.shape
    return structs.ScanArgs(
        u=scan.u,
        delta=scan.delta,
        A=scan.A,
        B=scan.B,
        C=scan.C,
        D=scan.D,
        bias=scan.delta_bias,
        prompt=scan.prompt,
        order=scan.order,
        y=y,
        last=last,
        states=states,
        batch=batch,
        length=length,
        channels=channels,
        n=n,
        u_stride=scan.u.stride(1),
        delta_stride=scan.delta.stride(1),
        B_stride=scan.B.stride(1),
        C_stride=scan.C.stride(1),
        prompt_stride=0 if scan.prompt is None else scan.prompt.stride(1),
        softplus=scan.delta_softplus,
        threads=torch.get_num_threads(),
        delta_weight=delta_weight,
        rank=0 if delta_weight is None else delta_weight.shape[1],
    )


def check_order(order: Tensor) -> None:
    """Raise ValueError for tokens that are not there, which C would read all the same."""
    if order.numel():
        low, high = order.aminmax()
        if low < 0 or high >= order.shape[1]:
            raise ValueError(f"order must hold 0 to {order.shape[1] - 1}, got {int(low)} to {int(high)}")


def scan_forward(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and the states at each chunk's start (empty if not kept)."""
    y, last, states = scan_outputs(scan, keep_states)
    loader.call("scan_forward", y.dtype, _scan_args(scan, y, last, states if keep_states else None))
    return y, last, states


def scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> ScanGradients:
    """Return the gradients of a scan whose states were kept."""
    batch, length, channels = dy.shape
    n = scan.A.shape[1]
    blocks = -(-channels // loader.width(dy.dtype))
    dy = dy.contiguous()
    du, ddelta = (dy.new_empty(batch, length, channels) for _ in range(2))
    dB, dC = (dy.new_empty(blocks, batch, length, n) for _ in range(2))
    dA, dD, dbias = (dy.new_empty(batch, *s) for s in ((channels, n), (channels,), (channels,)))
    args = structs.ScanGradArgs(
        forward=_scan_args(scan, None, None, states),
        dy=dy,
        du=du,
        ddelta=ddelta,
        dB=dB,
        dC=dC,
        dA=dA,
        dD=dD,
        dbias=dbias,
    )
    loader.call("scan_backward", dy.dtype, args)
    return ScanGradients(du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0))


def _scan_in_place(
    u: Tensor,
    dt: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    order: Tensor | None,
) -> None:
    # A token of y takes the place of the same token of u, which nobody reads again.
    if not u.is_contiguous():
        raise ValueError("u must be contiguous: y takes its place")
    last = u.new_empty(u.shape[0], u.shape[2], A.shape[1])
    scan = Scan(u, dt, A, B, C, D, delta_bias, order)
    loader.call("scan_forward", u.dtype, _scan_args(scan, u, last, None, dt_weight.contiguous()))


selective_scan = scan_operator("native", scan_forward, scan_backward, scan_outputs, "CPU")
scan_in_place = define(
    "selective_scan_native_",
    "(Tensor(a!) u, Tensor dt, Tensor dt_weight, Tensor A, Tensor B, Tensor C, Tensor D, Tensor delta_bias, "
    "Tensor? order) -> ()",
    _scan_in_place,
    lambda *given: None,
)
