"""The selective scan of a state space model, one function over several backends.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops import autocast
from mambairv2.ops.backend_choice import ScanBackend, scan_backend
from mambairv2.ops.scan import chunked, native, reference, triton
from mambairv2.ops.scan.arguments import Scan

Core = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

# Backends in plain torch take sorted tokens and leave what surrounds the scan to `_around`.
_CORES: dict[str, Core] = {"reference": reference.selective_scan, "chunked": chunked.selective_scan}


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    *,
    order: Tensor | None = None,
    prompt: Tensor | None = None,
    delta_softplus: bool = True,
    backend: ScanBackend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run h_i = exp(Δ_i A) h_{i-1} + Δ_i B_i u_i, y_i = (C_i + P_i) · h_i + D u_i along the tokens.

    u, delta: (B, L, D), any L from 0. A: (D, N), negative for a decaying state. B, C: (B, L, N).
    D, delta_bias: (D,). Δ = softplus(delta + delta_bias), or delta + delta_bias without softplus.
    order: (B, L) int64, a permutation of each row: step i visits token order[i], and y comes back in
    the order of u (semantic-guided neighbouring, unfold and fold). prompt: (B, L, N), P, indexed by the
    step i and not by the token (as published; see `prompt_order`). float32 or float64, one dtype for all;
    half precision is computed in float32 by every backend but `native`, which takes it under autocast only;
    `triton` takes no float64.

    Under autocast everything is cast to float32, which is then the dtype returned; else that is u's.
    Returns y (B, L, D) and the last state (B, D, N); gradients flow through y only.
    Raises ValueError for shapes that do not fit, RuntimeError for a backend that is not available here.
    """
    scan = Scan(u, delta, A, B, C, D, delta_bias, order, prompt, delta_softplus)
    check_shapes(scan)
    if not autocast.active(u.device):
        return _run(scan, backend)
    with torch.autocast(u.device.type, enabled=False):
        dtype = torch.promote_types(u.dtype, torch.float32)
        return _run(scan.with_real(lambda t: t.to(dtype)), backend)


def _run(scan: Scan, backend: ScanBackend) -> tuple[Tensor, Tensor]:
    name = scan_backend(scan.u, backend, scan.A.shape[1])
    if name == "native":
        y, last = native.selective_scan(scan)
    elif name == "triton":
        y, last = triton.selective_scan(scan)
    elif isinstance(scan.u.shape[1], torch.SymInt):
        raise RuntimeError(
            "torch.export takes the scan in plain PyTorch for one height and width only, as its loops have as many "
            'steps as the image needs; leave these fixed, or have the native kernels: set_backend(scan="native")'
        )
    else:
        y, last = _around(_CORES[name], scan)
    return y, last.detach()


def _around(core: Core, scan: Scan) -> tuple[Tensor, Tensor]:
    """Softplus, unfold by order, prompt, scan, fold; half precision in float32."""
    dtype = scan.u.dtype
    u, delta, A, B, C, D, delta_bias, order, prompt, softplus = scan.with_real(autocast.widen)
    delta = delta + delta_bias
    if softplus:
        delta = F.softplus(delta)
    if order is not None:
        u, delta, B, C = (take(t, order) for t in (u, delta, B, C))
    if prompt is not None:
        C = C + prompt
    y, last = core(u, delta, A, B, C, D)
    return (y if order is None else take(y, invert(order))).to(dtype), last.to(dtype)


def invert(order: Tensor) -> Tensor:
    """Return the inverse of each row's permutation: (B, L) int64 → (B, L) int64."""
    steps = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, steps)


def take(tokens: Tensor, order: Tensor) -> Tensor:
    """Return tokens (B, L, n) in the order of (B, L) int64."""
    batch, length, width = tokens.shape
    first = torch.arange(batch, device=order.device)[:, None] * length
    rows = tokens.reshape(batch * length, width).index_select(0, (order + first).flatten())  # a row is copied at once
    return rows.view(tokens.shape)


def check_shapes(scan: Scan, rank: int | None = None) -> None:
    """Raise ValueError naming a tensor that does not fit u and A; rank: the channels of delta where they are not D."""
    u, A, order = scan.u, scan.A, scan.order
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(f"u must be (B, L, D) and A (D, N), got {tuple(u.shape)} and {tuple(A.shape)}")
    batch, length, channels = u.shape
    per_token, per_state = (batch, length, channels), (batch, length, A.shape[1])
    expected = {
        **{
            "delta": per_token if rank is None else (batch, length, rank),
            "B": per_state,
            "C": per_state,
            "prompt": per_state,
            "order": (batch, length),
        },
        **{"A": (channels, A.shape[1]), "D": (channels,), "delta_bias": (channels,)},
    }
    for name, shape in expected.items():
        tensor = getattr(scan, name)
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} for u {tuple(u.shape)}, got {tuple(tensor.shape)}")
    if order is not None and order.dtype != torch.int64:
        raise ValueError(f"order must be int64, got {order.dtype}")
