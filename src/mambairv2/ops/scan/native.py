"""The scan by the native kernels.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.library import loader, structs
from mambairv2.ops.library.loader import pointer
from mambairv2.ops.registration import define
from mambairv2.ops.scan.arguments import Scan, scan_operator


def scan_outputs(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y (B, L, D), the last state (B, D, N), and the states at each chunk's start (empty if not kept)."""
    batch, length, channels = scan.u.shape
    n = scan.A.shape[1]
    chunks = (length + loader.CHUNK - 1) // loader.CHUNK if keep_states else 0
    new = scan.u.new_empty
    return new(batch, length, channels), new(batch, channels, n), new(batch, chunks, n, channels)


def _scan_args(scan: Scan) -> tuple[structs.ScanArgs, Scan]:
    """Fill the C struct; the scan returned keeps alive what it points to."""
    loader.check_dtype(*scan.real())
    states = scan.A.shape[1]
    if states > loader.MAX_STATES:
        raise ValueError(f"the native scan takes up to {loader.MAX_STATES} states, got {states}")
    if scan.order is not None:
        check_order(scan.order)
    scan = scan.laid_out()
    args = structs.ScanArgs(
        *(pointer(t) for t in (*scan[:7], scan.prompt, scan.order)),
        *(None, None, None),
        *(*scan.u.shape, states),
        *scan.strides(),
        int(scan.delta_softplus),
        torch.get_num_threads(),
    )
    return args, scan


def check_order(order: Tensor) -> None:
    """Raise ValueError for tokens that are not there, which C would read all the same."""
    if order.numel():
        low, high = order.aminmax()
        if low < 0 or high >= order.shape[1]:
            raise ValueError(f"order must hold 0 to {order.shape[1] - 1}, got {int(low)} to {int(high)}")


def scan_forward(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and the states at each chunk's start (empty if not kept)."""
    y, last, states = scan_outputs(scan, keep_states)
    args, _alive = _scan_args(scan)
    args.y, args.last = y.data_ptr(), last.data_ptr()
    args.states = states.data_ptr() if keep_states else None
    loader.call("scan_forward", y.dtype, args)
    return y, last, states


def scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> list[Tensor]:
    """Return du, ddelta, dA, dB, dC, dD and ddelta_bias."""
    forward, _alive = _scan_args(scan)
    forward.states = states.data_ptr()
    batch, length, channels = dy.shape
    n = scan.A.shape[1]
    blocks = -(-channels // loader.width(dy.dtype))
    dy = dy.contiguous()
    du, ddelta = (dy.new_empty(batch, length, channels) for _ in range(2))
    dB, dC = (dy.new_empty(blocks, batch, length, n) for _ in range(2))
    dA, dD, dbias = (dy.new_empty(batch, *s) for s in ((channels, n), (channels,), (channels,)))
    outputs = (dy, du, ddelta, dB, dC, dA, dD, dbias)
    loader.call("scan_backward", dy.dtype, structs.ScanGradArgs(forward, *map(pointer, outputs)))
    return [du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0)]


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
    args, alive = _scan_args(Scan(u, dt, A, B, C, D, delta_bias, order))
    weight, last = dt_weight.contiguous(), u.new_empty(u.shape[0], u.shape[2], A.shape[1])
    assert alive.u.data_ptr() == u.data_ptr(), "u must be contiguous"
    args.y, args.last = u.data_ptr(), last.data_ptr()
    args.delta_weight, args.rank = weight.data_ptr(), weight.shape[1]
    loader.call("scan_forward", u.dtype, args)


selective_scan = scan_operator("native", scan_forward, scan_backward, scan_outputs, "CPU")
scan_in_place = define(
    "selective_scan_native_",
    "(Tensor(a!) u, Tensor dt, Tensor dt_weight, Tensor A, Tensor B, Tensor C, Tensor D, Tensor delta_bias, "
    "Tensor? order) -> ()",
    _scan_in_place,
    lambda *given: None,
)
