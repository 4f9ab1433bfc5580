"""The scan by Triton kernels.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

from torch import Tensor

from mambairv2.ops.registration import EVERY_DEVICE
from mambairv2.ops.scan.arguments import Scan, ScanGradients, scan_operator
from mambairv2.ops.scan.triton_buffers import scan_outputs
from mambairv2.ops.triton_support import DTYPES, MAX_STATES


def selective_scan(scan: Scan) -> tuple[Tensor, Tensor]:
    """Scan; computed in float32, y and the last state like u."""
    if any(t.dtype not in DTYPES for t in scan.real()):
        raise ValueError(f"the Triton scan takes float32, bfloat16, float16; got {[t.dtype for t in scan.real()]}")
    if scan.A.shape[1] > MAX_STATES:
        raise ValueError(f"the Triton scan takes up to {MAX_STATES} states, got {scan.A.shape[1]}")
    return _scan(scan)


def _scan_forward(scan: Scan, keep_states: bool) -> tuple[Tensor, Tensor, Tensor]:
    from mambairv2.ops.scan import triton_launch

    return triton_launch.scan_forward(scan, keep_states)


def _scan_backward(dy: Tensor, scan: Scan, states: Tensor) -> ScanGradients:
    from mambairv2.ops.scan import triton_launch

    return triton_launch.scan_backward(dy, scan, states)


_scan = scan_operator("triton", _scan_forward, _scan_backward, scan_outputs, EVERY_DEVICE)
