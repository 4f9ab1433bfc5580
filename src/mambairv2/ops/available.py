"""Which compiled backend can run where, and why not."""

from __future__ import annotations

import torch

from mambairv2.ops import cpu, gpu


def missing(backend: str, device: torch.device) -> str | None:
    """Return why a backend cannot run for tensors of a device; None if it can."""
    if backend == "cpu":
        return f"the tensors are on {device}" if device.type != "cpu" else cpu.unavailable()
    if backend == "triton":
        return f"the tensors are on {device}" if not gpu.runs_on(device) else gpu.unavailable()
    return None


def choose(backend: str, device: torch.device, known: tuple[str, ...]) -> str:
    """Return the backend; raises ValueError for an unknown name, RuntimeError for one that cannot run here."""
    if backend not in known:
        raise ValueError(f"unknown backend {backend!r}; known: auto, {', '.join(known)}")
    reason = missing(backend, device)
    if reason is not None:
        raise RuntimeError(f"backend {backend!r} is not available: {reason}")
    return backend
