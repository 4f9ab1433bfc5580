"""The selective scan in plain torch, parallel over chunks: for devices without a kernel, and for tracing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 16


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """Scan all chunks of 16 tokens side by side, then their ends the same way, level by level.

    Only products of decays in (0, 1] are formed, never their inverses, so nothing overflows however
    strong the decay.
    u, delta: (B, L, D), delta after softplus; A: (D, N); B, C: (B, L, N); D: (D,).
    Returns y (B, L, D) and the last state (B, D, N). Differentiable by autograd.
    """
    if u.shape[1] == 0:
        return D * u, u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    decay = torch.exp(delta[..., None] * A)
    drive = (delta * u)[..., None] * B[:, :, None, :]
    h, _ = _scan(decay, drive)
    return torch.einsum("bldn,bln->bld", h, C) + D * u, h[:, -1]


def _scan(decay: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
    """States h_i = decay_i h_{i-1} + drive_i from h = 0, and running products of the decays: both (B, L, D, N)."""
    batch, length, channels, states = decay.shape
    if length <= CHUNK:
        return _loop(decay, drive)
    chunks = -(-length // CHUNK)
    pad = (0, 0, 0, 0, 0, chunks * CHUNK - length)
    shape = (batch * chunks, CHUNK, channels, states)
    h, total = _loop(F.pad(decay, pad, value=1.0).reshape(shape), F.pad(drive, pad).reshape(shape))
    h, total = (t.reshape(batch, chunks, CHUNK, channels, states) for t in (h, total))
    end, end_total = _scan(total[:, :, -1], h[:, :, -1])
    # What each chunk starts from is the end of the one before; nothing before the first.
    start = F.pad(end[:, :-1], (0, 0, 0, 0, 1, 0))[:, :, None]
    start_total = F.pad(end_total[:, :-1], (0, 0, 0, 0, 1, 0), value=1.0)[:, :, None]
    h, total = h + total * start, total * start_total
    flat = (batch, chunks * CHUNK, channels, states)
    return h.reshape(flat)[:, :length], total.reshape(flat)[:, :length]


def _loop(decay: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
    h, total = [drive[:, 0]], [decay[:, 0]]
    for i in range(1, decay.shape[1]):
        h.append(decay[:, i] * h[-1] + drive[:, i])
        total.append(decay[:, i] * total[-1])
    return torch.stack(h, 1), torch.stack(total, 1)
