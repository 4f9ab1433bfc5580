"""Which backends a network runs on: what `ops.backend_choice` decides, for the rooms above."""

from __future__ import annotations

from mambairv2.ops import slow_note
from mambairv2.ops.backend_choice import (
    AttentionBackend,
    Backends,
    DenseBackend,
    Products,
    ScanBackend,
    attention_backend,
    scan_backend,
)
from mambairv2.ops.library.loader import without_bfloat16

__all__ = [
    "AttentionBackend",
    "Backends",
    "DenseBackend",
    "Products",
    "ScanBackend",
    "attention_backend",
    "scan_backend",
    "slow_note",
    "without_bfloat16",
]
