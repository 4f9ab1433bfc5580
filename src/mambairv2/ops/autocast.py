"""Autocast and half precision as the operations see them."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def active(device: torch.device) -> bool:
    """Return whether autocast is on for tensors of this device."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def widen(tensor: Tensor) -> Tensor:
    """Return a half precision tensor in float32, any other as it is."""
    return tensor.float() if tensor.dtype in HALF else tensor
