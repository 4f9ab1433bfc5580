"""What the Triton kernels write to, allocated without Triton, for tracing too."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.scan.arguments import Scan


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


def tile_of(states: int) -> int:
    """Return T, the tokens of one tile: fewer where there are many states, to stay in registers."""
    return max(4, min(16, 256 // states))
