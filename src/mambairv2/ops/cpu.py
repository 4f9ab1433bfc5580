"""The scan and the window attention by the native kernels.

Shape legend: B batch, L tokens, D channels, N states, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops import native
from mambairv2.ops.native import pointer
from mambairv2.ops.operators import Scan, attention_operator, scan_operator

WINDOW = 16
DTYPES = tuple(native.DTYPES)
# Found at import, so that torch.compile meets a constant and no loading of libraries.
_FOUND = native.load()
_REASON = _FOUND if isinstance(_FOUND, str) else None


def unavailable() -> str | None:
    """Return why the kernels cannot run here, or None if they can."""
    return _REASON


def takes_scan(u: Tensor, states: int) -> bool:
    """Return whether the scan of tensors like u, with so many states, can run here."""
    return unavailable() is None and u.dtype in DTYPES and states <= native.MAX_STATES


def scan_outputs(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y (B, L, D), the last state (B, D, N), and the states at each chunk's start (empty if not kept)."""
    batch, length, channels = scan.u.shape
    n = scan.A.shape[1]
    chunks = (length + native.CHUNK - 1) // native.CHUNK if keep_states else 0
    new = scan.u.new_empty
    return new(batch, length, channels), new(batch, channels, n), new(batch, chunks, n, channels)


def _scan_args(scan: Scan) -> tuple[native.ScanArgs, Scan]:
    """Fill the C struct; the scan returned keeps alive what it points to."""
    native.check_dtype(*scan.real())
    states = scan.A.shape[1]
    if states > native.MAX_STATES:
        raise ValueError(f"the native scan takes up to {native.MAX_STATES} states, got {states}")
    if scan.order is not None:
        check_order(scan.order)
    scan = scan.laid_out()
    args = native.ScanArgs(
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
    native.call("scan_forward", y.dtype, args)
    return y, last, states


def scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> list[Tensor]:
    """Return du, ddelta, dA, dB, dC, dD and ddelta_bias."""
    forward, _alive = _scan_args(scan)
    forward.states = states.data_ptr()
    batch, length, channels = dy.shape
    n = scan.A.shape[1]
    blocks = -(-channels // native.width(dy.dtype))
    dy = dy.contiguous()
    du, ddelta = (dy.new_empty(batch, length, channels) for _ in range(2))
    dB, dC = (dy.new_empty(blocks, batch, length, n) for _ in range(2))
    dA, dD, dbias = (dy.new_empty(batch, *s) for s in ((channels, n), (channels,), (channels,)))
    outputs = (dy, du, ddelta, dB, dC, dA, dD, dbias)
    native.call("scan_backward", dy.dtype, native.ScanGradArgs(forward, *map(pointer, outputs)))
    return [du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0)]


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum (empty if not kept)."""
    batch, height, width, channels = qkv.shape
    tokens = height * width if keep_lse else 0
    return qkv.new_empty(batch, height, width, channels // 3), qkv.new_empty(batch, bias_table.shape[1], tokens)


def _attention_args(qkv: Tensor, table: Tensor, shift: int) -> tuple[native.AttentionArgs, list[Tensor]]:
    """Fill the C struct; the list keeps alive what it points to."""
    native.check_dtype(qkv, table)
    if table.shape[0] != native.TABLE:
        raise ValueError(f"the native attention takes windows of {WINDOW}, got a table of {table.shape[0]} rows")
    qkv, table = qkv.contiguous(), table.contiguous()
    batch, height, width, channels = qkv.shape
    heads = table.shape[1]
    sizes = (batch, height, width, heads, channels // 3 // heads, shift)
    args = native.AttentionArgs(pointer(qkv), pointer(table), None, None, *sizes, torch.get_num_threads())
    return args, [qkv, table]


def attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Return the output and log2 of each softmax's sum (empty if not kept)."""
    out, lse = attention_outputs(qkv, bias_table, keep_lse)
    args, _alive = _attention_args(qkv, bias_table, shift)
    args.out, args.lse = out.data_ptr(), lse.data_ptr() if keep_lse else None
    native.call("attention_forward", qkv.dtype, args)
    return out, lse


def attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return dqkv and dtable."""
    forward, alive = _attention_args(qkv, bias_table, shift)
    forward.out, forward.lse = out.data_ptr(), lse.data_ptr()
    dout = dout.contiguous()
    windows = qkv.shape[0] * qkv.shape[1] * qkv.shape[2] // WINDOW**2
    parts = native.parts_for(windows // 4)
    dqkv = torch.empty_like(alive[0])
    dtable = qkv.new_empty(bias_table.shape)
    args = native.AttentionGradArgs(forward, pointer(dout), pointer(dqkv), pointer(dtable), parts)
    native.call("attention_backward", qkv.dtype, args)
    return dqkv, dtable


selective_scan = scan_operator("cpu", scan_forward, scan_backward, scan_outputs, "CPU")
window_attention = attention_operator("cpu", attention_forward, attention_backward, attention_outputs, "CPU")
