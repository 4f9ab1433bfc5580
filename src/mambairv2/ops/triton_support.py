"""Whether the Triton kernels can run here, and for which tensors. Triton itself is imported when one first runs."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Tensor

from mambairv2.installation import install_packages

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WINDOW = 16
MAX_STATES = 64
MAX_HEAD_DIM = 64
SCAN, WINDOW_ATTENTION = "selective scan", "window attention"
"""The operations that have kernels."""
# Programs wanted at once: a few for each processor of a large GPU; the same on any, so that sums are too.
PROGRAMS = 1024
FUSED = {"enable_fp_fusion": True}  # said, since Triton warns where it is not
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def _reason() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return f"triton is not installed; {install_packages('triton')} (Linux)"
    if INTERPRETED:
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler; install gcc or clang, or set CC"
    return None


# Found at import, so that torch.compile meets a constant; without a look at the GPUs, which would open the driver.
_REASON = _reason()


def unavailable() -> str | None:
    """Return why the kernels cannot run on a GPU of this machine, if it has one; None if they can."""
    return _REASON


def runs_on(device: torch.device) -> bool:
    """Return whether this is a device for the kernels: a GPU, or the CPU in Triton's interpreter."""
    return device.type == "cuda" or (INTERPRETED and device.type == "cpu")


def takes_scan(u: Tensor, states: int) -> bool:
    """Return whether the scan of tensors like u, with so many states, can run here."""
    return unavailable() is None and u.dtype in DTYPES and states <= MAX_STATES


def takes_attention(qkv: Tensor, window: int, heads: int) -> bool:
    """Return whether the attention of tensors like qkv can run here."""
    fits = window == WINDOW and qkv.shape[3] // 3 // heads <= MAX_HEAD_DIM
    return unavailable() is None and qkv.dtype in DTYPES and fits
