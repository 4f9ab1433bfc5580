"""Which backend runs an operation: the one place that decides.

`auto` takes the fastest backend that can run for the tensors at hand; the Triton kernels only once they have passed
their check on this GPU (`triton_verdict`). A backend that is named is not checked, and raises if it cannot run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mambairv2.ops import triton_support, triton_verdict
from mambairv2.ops.library import loader
from mambairv2.ops.registration import needs_gradient

ScanBackend = Literal["auto", "reference", "chunked", "native", "triton"]
AttentionBackend = Literal["auto", "reference", "sdpa", "native", "triton"]
DenseBackend = Literal["auto", "torch", "native"]
Products = Literal["float32", "bfloat16"]

WINDOW = 16
"""Side of the windows that the native and the Triton attention take."""


@dataclass(frozen=True)
class Backends:
    """The backends of a network."""

    scan: ScanBackend = "auto"
    """The selective scan."""
    attention: AttentionBackend = "auto"
    """The attention inside windows."""
    dense: DenseBackend = "auto"
    """Everything else that has a kernel: linear maps, depthwise convolutions, routing, the sort by prompt, noise."""
    products: Products = "float32"
    """What the native kernels round to before they multiply, at inference; sums are of float32 in any case."""


def scan_backend(u: Tensor, wanted: ScanBackend = "auto", states: int = 1) -> str:
    """Return the backend that scans tensors like u with so many states; raises as `_named`."""
    if wanted != "auto":
        return _named(wanted, u.device, ("native", "triton", "reference", "chunked"))
    if _tracing():
        return "chunked"
    if _native_runs(u.device) and u.dtype in loader.DTYPES and states <= loader.MAX_STATES:
        return "native"
    if u.device.type == "cuda" and triton_support.takes_scan(u, states):
        return "triton" if triton_verdict.agrees(triton_support.SCAN, u.device, u.dtype) else "chunked"
    return "chunked"


def attention_backend(qkv: Tensor, window: int, wanted: AttentionBackend = "auto", heads: int = 1) -> str:
    """Return the backend that attends in tensors like qkv; raises as `_named`."""
    if wanted != "auto":
        return _named(wanted, qkv.device, ("native", "triton", "reference", "sdpa"))
    if _tracing():
        return "sdpa"
    if _native_runs(qkv.device) and window == WINDOW and qkv.dtype in loader.DTYPES:
        return "native"
    if qkv.device.type == "cuda" and triton_support.takes_attention(qkv, window, heads):
        return "triton" if triton_verdict.agrees(triton_support.WINDOW_ATTENTION, qkv.device, qkv.dtype) else "sdpa"
    return "sdpa"


def dense_backend(x: Tensor, wanted: DenseBackend = "auto") -> str:
    """Return the backend of a linear map or convolution of tensors like x; raises as `_named`."""
    if wanted != "auto":
        return _named(wanted, x.device, ("native", "torch"))
    fits = _native_runs(x.device) and x.dtype in loader.DTYPES
    return "native" if fits and not _tracing() and not torch.is_autocast_enabled("cpu") else "torch"


def index_backend(device: torch.device, wanted: DenseBackend = "auto") -> str:
    """Return the backend of an operation on labels, seeds or places, whatever the dtype; raises as `_named`."""
    if wanted != "auto":
        return _named(wanted, device, ("native", "torch"))
    return "native" if _native_runs(device) and not _tracing() else "torch"


def rounds(products: Products, *given: Tensor | None) -> bool:
    """Return whether a native kernel rounds to bfloat16 before it multiplies: if asked to, and without gradients.

    given: what the operation takes. Raises ValueError for an unknown name, RuntimeError where the processor cannot.
    """
    if (
        products == "float32"
        or needs_gradient(*given)
        or any(t is not None and t.dtype != torch.float32 for t in given)
    ):
        return False
    if products != "bfloat16":
        raise ValueError(f"products are of float32 or bfloat16, got {products!r}")
    reason = loader.without_bfloat16()
    if reason is not None:
        raise RuntimeError(f"no products of bfloat16: {reason}")
    return True


def missing(backend: str, device: torch.device) -> str | None:
    """Return why a backend cannot run for tensors of a device; None if it can."""
    if backend == "native":
        return f"the tensors are on {device}" if device.type != "cpu" else loader.unavailable()
    if backend == "triton":
        return f"the tensors are on {device}" if not triton_support.runs_on(device) else triton_support.unavailable()
    return None


def _named(backend: str, device: torch.device, known: tuple[str, ...]) -> str:
    """Return the backend; raises ValueError for an unknown name, RuntimeError for one that cannot run here."""
    if backend not in known:
        raise ValueError(f"unknown backend {backend!r}; known: auto, {', '.join(known)}")
    reason = missing(backend, device)
    if reason is not None:
        raise RuntimeError(f"backend {backend!r} is not available: {reason}")
    return backend


def _native_runs(device: torch.device) -> bool:
    return device.type == "cpu" and loader.unavailable() is None


def _tracing() -> bool:
    """Return whether torch.jit traces: the trace must hold operations that any machine has."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing
