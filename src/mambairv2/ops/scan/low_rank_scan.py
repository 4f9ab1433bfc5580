"""The selective scan with steps of low rank, as Mamba has them; at inference it may write over its input.

Shape legend: B batch, L tokens, D channels, N states, K rank.
"""

from __future__ import annotations

from torch import Tensor

from mambairv2.ops import autocast
from mambairv2.ops.backend_choice import DenseBackend, ScanBackend, scan_backend
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.library import loader
from mambairv2.ops.registration import needs_gradient
from mambairv2.ops.scan import native
from mambairv2.ops.scan.arguments import Scan
from mambairv2.ops.scan.selective_scan import check_shapes, selective_scan


def low_rank_scan(
    u: Tensor,
    dt: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    *,
    order: Tensor | None = None,
    backend: ScanBackend = "auto",
    dense: DenseBackend = "auto",
) -> Tensor:
    """Return y of `selective_scan` for delta = dt_weight · dt, and softplus.

    u: (B, L, D); without gradients y may take its memory, so that the caller must not read u again. dt: (B, L, K).
    dt_weight: (D, K). A, B, C, D, delta_bias, order and backend: as `selective_scan` takes them; dense: the backend of
    the map, as `linear` takes it. Returns (B, L, D). Raises what these two raise.
    """
    if dt_weight.ndim != 2 or dt_weight.shape[0] != u.shape[-1]:
        raise ValueError(f"dt_weight must be ({u.shape[-1]}, K), got {tuple(dt_weight.shape)}")
    check_shapes(Scan(u, dt, A, B, C, D, delta_bias, order), rank=dt_weight.shape[1])
    tensors = (u, dt, dt_weight, A, B, C, D, delta_bias)
    native_scan = scan_backend(u, backend, A.shape[1]) == "native" and not autocast.active(u.device)
    fits = dt.shape[2] <= loader.MAX_RANK and u.is_contiguous() and u.numel() > 0
    if native_scan and fits and not needs_gradient(*tensors):
        native.scan_in_place(*tensors, order)
        return u
    delta = linear(dt, dt_weight, backend=dense)
    return selective_scan(u, delta, A, B, C, D, delta_bias, order=order, backend=backend)[0]
