"""The selective scan with the signature of mamba_ssm's function, for projects written against that one.

Shape legend: B batch, L tokens, D channels, N states, G groups of channels (D a multiple of G).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.backend_choice import ScanBackend
from mambairv2.ops.scan.arguments import Scan
from mambairv2.ops.scan.selective_scan import selective_scan


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: ScanBackend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run h_l = exp(Δ_l A) h_{l-1} + Δ_l B_l u_l, y_l = C_l · h_l + D u_l, times SiLU(z_l) if z is given.

    u, delta, z: (B, D, L). A: (D, N), real. B, C, each on its own: (D, N) constant, (B, N, L) per token, or
    (B, G, N, L) per token and group of D/G channels. D, delta_bias: (D,), None for zero.
    Δ = delta + delta_bias, through softplus if delta_softplus. A constant B or C takes memory of B·L·D·N.
    Any floating dtype; computed in float64 for u in float64, else in float32.

    Returns y (B, D, L) in the dtype of u; with return_last_state also h_L (B, D, N) in the dtype computed
    in, through which no gradient flows. Raises ValueError for complex tensors and shapes that do not fit.
    Source: Mamba (Gu and Dao, 2023), equations 1 and 2 discretised as in its algorithm 2.
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    channels = u.shape[1]
    x, step = (t.to(dtype).transpose(1, 2) for t in (u, delta))
    A, B, C = A.to(dtype), B.to(dtype), C.to(dtype)
    skip, bias = (A.new_zeros(channels) if t is None else t.to(dtype) for t in (D, delta_bias))
    scan = Scan(x, step, A, B, C, skip, bias, delta_softplus=delta_softplus)
    y, last = (_by_state if B.ndim == 2 or C.ndim == 2 else _by_group)(scan, backend)
    y = y.transpose(1, 2)
    if z is not None:
        y = y * F.silu(z.to(dtype))
    y = y.to(u.dtype)
    return (y, last) if return_last_state else y


def _by_group(scan: Scan, backend: ScanBackend) -> tuple[Tensor, Tensor]:
    """Scan each group of channels with its own B and C; u, delta (B, L, D) → (B, L, D) and (B, D, N)."""
    B, C = (t if t.ndim == 4 else t[:, None] for t in (scan.B, scan.C))
    groups = math.lcm(B.shape[1], C.shape[1])
    size = scan.u.shape[2] // groups
    outputs, ends = [], []
    for i in range(groups):
        part = slice(i * size, (i + 1) * size)
        B_i, C_i = (t[:, i * t.shape[1] // groups].transpose(1, 2) for t in (B, C))
        y, last = selective_scan(
            *(scan.u[..., part], scan.delta[..., part], scan.A[part], B_i, C_i, scan.D[part], scan.delta_bias[part]),
            delta_softplus=scan.delta_softplus,
            backend=backend,
        )
        outputs.append(y)
        ends.append(last)
    return (outputs[0], ends[0]) if groups == 1 else (torch.cat(outputs, 2), torch.cat(ends, 1))


def _by_state(scan: Scan, backend: ScanBackend) -> tuple[Tensor, Tensor]:
    """Scan each state of each channel as a channel of one state: B and C may then depend on the channel."""
    u, A = scan.u, scan.A
    batch, length, channels = u.shape
    states = A.shape[1]
    drive = u[..., None] * _to_channels(scan.B, channels)
    one = u.new_ones(batch, length, 1)
    h, last = selective_scan(
        drive.reshape(batch, length, channels * states),
        scan.delta.repeat_interleave(states, 2),
        A.reshape(-1, 1),
        one,
        one,
        A.new_zeros(channels * states),
        scan.delta_bias.repeat_interleave(states),
        delta_softplus=scan.delta_softplus,
        backend=backend,
    )
    y = (h.view(batch, length, channels, states) * _to_channels(scan.C, channels)).sum(-1) + scan.D * u
    return y, last.reshape(batch, channels, states)


def _to_channels(matrix: Tensor, channels: int) -> Tensor:
    """Bring B or C to a shape that broadcasts with (B, L, D, N)."""
    if matrix.ndim == 2:
        return matrix
    if matrix.ndim == 3:
        return matrix.transpose(1, 2)[:, :, None]
    return matrix.permute(0, 3, 1, 2).repeat_interleave(channels // matrix.shape[1], 2)


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if any(t.is_complex() for t in (A, B, C)):
        raise ValueError(f"A, B and C must be real, got {A.dtype}, {B.dtype} and {C.dtype}")
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(f"u must be (B, D, L) and A (D, N), got {tuple(u.shape)} and {tuple(A.shape)}")
    batch, channels, length = u.shape
    states = A.shape[1]
    fixed = {
        "delta": (delta, (batch, channels, length)),
        "A": (A, (channels, states)),
        "D": (D, (channels,)),
        "z": (z, (batch, channels, length)),
        "delta_bias": (delta_bias, (channels,)),
    }
    for name, (tensor, shape) in fixed.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} for u {tuple(u.shape)}, got {tuple(tensor.shape)}")
    for name, matrix in (("B", B), ("C", C)):
        groups = matrix.shape[1] if matrix.ndim == 4 else 1
        shapes = {2: (channels, states), 3: (batch, states, length), 4: (batch, groups, states, length)}
        if tuple(matrix.shape) != shapes.get(matrix.ndim) or not groups or channels % groups:
            raise ValueError(
                f"{name} must be (D, N), (B, N, L) or (B, G, N, L) with D a multiple of G, for u "
                f"{tuple(u.shape)} and A {tuple(A.shape)}; got {tuple(matrix.shape)}"
            )
