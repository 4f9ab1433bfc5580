"""What a network computes in."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import nn

from mambairv2.network.backends import without_bfloat16
from mambairv2.network.model import MambaIRv2

Precision = Literal["float32", "bfloat16", "float16"]


class PrecisionWarning(UserWarning):
    """A network computes in another precision than the one that was asked for."""


def set_precision(model: nn.Module, device: torch.device, precision: Precision) -> None:
    """Let a network on a device compute in a precision.

    On a CPU, bfloat16 is that of the products in the native kernels: the network itself stays in float32. Where they
    cannot run, everything is computed in float32, and a PrecisionWarning says why. Elsewhere half precision is that of
    all values.
    """
    on_cpu = precision == "bfloat16" and device.type == "cpu" and isinstance(model, MambaIRv2)
    model.to(torch.float32 if on_cpu else getattr(torch, precision))
    if not isinstance(model, MambaIRv2):
        return
    reason = without_bfloat16() if on_cpu else None
    if reason is not None:
        warnings.warn(f"computing in float32, for want of bfloat16: {reason}", PrecisionWarning, stacklevel=3)
    model.set_products("bfloat16" if on_cpu and reason is None else "float32")
