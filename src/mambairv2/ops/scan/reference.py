"""The selective scan as a plain loop over the tokens: slow, obvious, and the truth for the others."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
    """Scan step by step: h_i = exp(Δ_i A) h_{i-1} + Δ_i B_i u_i, y_i = C_i · h_i + D u_i.

    u, delta: (B, L, D), delta after softplus; A: (D, N); B, C: (B, L, N); D: (D,).
    Returns y (B, L, D) and the last state (B, D, N). Differentiable by autograd.
    """
    batch, length, channels = u.shape
    h = u.new_zeros(batch, channels, A.shape[1])
    outputs = []
    for i in range(length):
        step = delta[:, i, :, None]
        h = torch.exp(step * A) * h + step * B[:, i, None, :] * u[:, i, :, None]
        outputs.append((h * C[:, i, None, :]).sum(-1))
    y = torch.stack(outputs, 1) if outputs else torch.zeros_like(u)
    return y + D * u, h
