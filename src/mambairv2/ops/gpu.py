"""The scan and the window attention by Triton kernels.

Triton itself is imported when a kernel first runs. Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Tensor

from mambairv2.ops.operators import EVERY_DEVICE, Scan, attention_operator, scan_operator

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WINDOW = 16
MAX_STATES = 64
MAX_HEAD_DIM = 64
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def _reason() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton (Linux)"
    if INTERPRETED:
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler; install gcc or clang, or set CC"
    return None


# Found at import, so that torch.compile meets a constant; without a look at the GPUs, which would open the driver.
_REASON = _reason()


def unavailable() -> str | None:
    """Return why the kernels cannot run on a GPU of this machine, if it has one; None if they can."""
    return _REASON


def runs_on(device: torch.device) -> bool:
    """Return whether this is a device for the kernels: a GPU, or the CPU in Triton's interpreter."""
    return device.type == "cuda" or (INTERPRETED and device.type == "cpu")


def takes_scan(u: Tensor, states: int) -> bool:
    """Return whether the scan of tensors like u, with so many states, can run here."""
    return unavailable() is None and u.dtype in DTYPES and states <= MAX_STATES


def takes_attention(qkv: Tensor, window: int, heads: int) -> bool:
    """Return whether the attention of tensors like qkv can run here."""
    fits = window == WINDOW and qkv.shape[3] // 3 // heads <= MAX_HEAD_DIM
    return unavailable() is None and qkv.dtype in DTYPES and fits


def selective_scan(scan: Scan) -> tuple[Tensor, Tensor]:
    """Scan; computed in float32, y and the last state like u."""
    if any(t.dtype not in DTYPES for t in scan.real()):
        raise ValueError(f"the Triton scan takes float32, bfloat16, float16; got {[t.dtype for t in scan.real()]}")
    if scan.A.shape[1] > MAX_STATES:
        raise ValueError(f"the Triton scan takes up to {MAX_STATES} states, got {scan.A.shape[1]}")
    return _scan(scan)


def window_attention(qkv: Tensor, bias_table: Tensor, shift: int) -> Tensor:
    """Attend as `ops.window_attention.window_attention` says, for windows of 16; sums in float32."""
    heads = bias_table.shape[1]
    if qkv.dtype not in DTYPES:
        raise ValueError(f"the Triton attention takes float32, bfloat16, float16; got {qkv.dtype}")
    if bias_table.shape[0] != (2 * WINDOW - 1) ** 2 or qkv.shape[3] // 3 // heads > MAX_HEAD_DIM:
        raise ValueError(
            f"the Triton attention takes windows of {WINDOW} and heads of up to {MAX_HEAD_DIM} channels, "
            f"got qkv {tuple(qkv.shape)} and a table of {tuple(bias_table.shape)}"
        )
    return _attention(qkv, bias_table, shift)


def tile_of(states: int) -> int:
    """Return T, the tokens of one tile: fewer where there are many states, to stay in registers."""
    return max(4, min(16, 256 // states))


def scan_outputs(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate y (B, L, D), the last state (B, D, N), and states before tiles (B, L/T, D, N), none unless kept."""
    batch, length, channels = scan.u.shape
    states = scan.A.shape[1]
    tile = tile_of(states)
    tiles = (length + tile - 1) // tile if keep_states else 0
    return (
        scan.u.new_empty(batch, length, channels),
        scan.u.new_empty(batch, channels, states),
        scan.u.new_empty(batch, tiles, channels, states, dtype=torch.float32),
    )


def attention_outputs(qkv: Tensor, bias_table: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    """Allocate the output (B, H, W, E) and log2 of each softmax's sum, (B, windows, heads, 256) if kept."""
    batch, height, width, channels = qkv.shape
    windows = height * width // WINDOW**2 if keep_lse else 0
    return (
        qkv.new_empty(batch, height, width, channels // 3),
        qkv.new_empty(batch, windows, bias_table.shape[1], WINDOW**2, dtype=torch.float32),
    )


def _scan_forward(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.scan_forward(scan, keep_states)


def _scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> list[Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.scan_backward(dy, scan, states)


def _attention_forward(qkv: Tensor, bias_table: Tensor, shift: int, keep_lse: bool) -> tuple[Tensor, Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.attention_forward(qkv, bias_table, shift, keep_lse)


def _attention_backward(
    dout: Tensor, qkv: Tensor, bias_table: Tensor, shift: int, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    from mambairv2.ops import triton_launch

    return triton_launch.attention_backward(dout, qkv, bias_table, shift, out, lse)


_scan = scan_operator("triton", _scan_forward, _scan_backward, scan_outputs, EVERY_DEVICE)
_attention = attention_operator("triton", _attention_forward, _attention_backward, attention_outputs, EVERY_DEVICE)
