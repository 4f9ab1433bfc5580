"""The compiled kernels: finding the library, and its C structs (csrc/args.h)."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

ABI = 8
CHUNK = 64
MAX_STATES = 64
MAX_RANK = 16
TABLE = 31 * 31
PARTS = 16
DTYPES = {torch.float32: "f32", torch.float64: "f64"}

_P, _L, _I, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double


class ScanArgs(ctypes.Structure):
    """`mir::ScanArgs`."""

    _fields_ = (
        [(n, _P) for n in ("u", "delta", "A", "B", "C", "D", "bias", "prompt", "order", "y", "last", "states")]
        + [(n, _L) for n in ("batch", "length", "channels", "n")]
        + [(f"{n}_stride", _L) for n in ("u", "delta", "B", "C", "prompt")]
        + [("softplus", _I), ("threads", _I)]
        + [("delta_weight", _P)]
        + [("rank", _L)]
    )


class ScanGradArgs(ctypes.Structure):
    """`mir::ScanGradArgs`."""

    _fields_ = [("forward", ScanArgs)] + [(n, _P) for n in ("dy", "du", "ddelta", "dB", "dC", "dA", "dD", "dbias")]


class AttentionArgs(ctypes.Structure):
    """`mir::AttentionArgs`."""

    _fields_ = (
        [(n, _P) for n in ("qkv", "table", "out", "lse")]
        + [(n, _L) for n in ("batch", "height", "width", "heads", "dim", "shift")]
        + [("threads", _I)]
    )


class AttentionGradArgs(ctypes.Structure):
    """`mir::AttentionGradArgs`."""

    _fields_ = [("forward", AttentionArgs), ("dout", _P), ("dqkv", _P), ("dtable", _P), ("parts", _L)]


class AttentionBlockArgs(ctypes.Structure):
    """`mir::AttentionBlockArgs`."""

    _fields_ = [
        ("attention", AttentionArgs),
        *((n, _P) for n in ("x", "gamma", "beta", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias", "mixed")),
        ("eps", _D),
    ]


class LinearArgs(ctypes.Structure):
    """`mir::LinearArgs`."""

    _fields_ = [
        *((n, _P) for n in ("x", "weight", "bias", "gamma", "beta", "residual", "skip", "scale", "y")),
        *((n, _L) for n in ("rows", "inside", "outside", "x_stride")),
        ("eps", _D),
        ("gelu", _I),
        ("threads", _I),
    ]


class LinearGradArgs(ctypes.Structure):
    """`mir::LinearGradArgs`."""

    _fields_ = [
        ("forward", LinearArgs),
        *((n, _P) for n in ("dy", "around", "dx", "dskip", "dweight", "dbias", "dgamma", "dbeta", "dscale")),
        ("parts", _L),
    ]


class DepthwiseArgs(ctypes.Structure):
    """`mir::DepthwiseArgs`."""

    _fields_ = [
        *((n, _P) for n in ("x", "weight", "bias", "gamma", "beta", "y", "conv")),
        *((n, _L) for n in ("batch", "height", "width", "channels", "kernel")),
        ("eps", _D),
        ("mode", _I),
        ("threads", _I),
    ]


class DepthwiseGradArgs(ctypes.Structure):
    """`mir::DepthwiseGradArgs`."""

    _fields_ = [
        ("forward", DepthwiseArgs),
        *((n, _P) for n in ("dy", "dx", "dweight", "dbias", "dgamma", "dbeta")),
        ("parts", _L),
    ]


class ConvBlockArgs(ctypes.Structure):
    """`mir::ConvBlockArgs`."""

    _fields_ = [("first", LinearArgs), ("conv", DepthwiseArgs), ("last", LinearArgs)]


class ScanPassArgs(ctypes.Structure):
    """`mir::ScanPassArgs`."""

    _fields_ = [("into", ConvBlockArgs), ("project", LinearArgs), ("back", LinearArgs), ("scan", ScanArgs)]


class RoutingArgs(ctypes.Structure):
    """`mir::RoutingArgs`."""

    _fields_ = (
        [(n, _P) for n in ("logits", "label", "order")]
        + [(n, _L) for n in ("batch", "length", "prompts")]
        + [("threads", _I)]
    )


class ChoiceArgs(ctypes.Structure):
    """`mir::ChoiceArgs`."""

    _fields_ = [
        ("first", LinearArgs),
        ("second", LinearArgs),
        *((n, _P) for n in ("pool", "label", "prompt")),
        ("width", _L),
    ]


class NoiseArgs(ctypes.Structure):
    """`mir::NoiseArgs`."""

    _fields_ = [("seeds", _P), ("noise", _P), ("batch", _L), ("count", _L), ("threads", _I)]


class DrawArgs(ctypes.Structure):
    """`mir::DrawArgs`."""

    _fields_ = [
        *((n, _P) for n in ("logits", "noise", "pool", "label", "prompt", "soft")),
        *((n, _L) for n in ("tokens", "prompts", "width")),
        ("temperature", _D),
        ("threads", _I),
    ]


class DrawGradArgs(ctypes.Structure):
    """`mir::DrawGradArgs`."""

    _fields_ = [("forward", DrawArgs), *((n, _P) for n in ("dprompt", "dlogits", "dpool")), ("parts", _L)]


@lru_cache(maxsize=1)
def load() -> ctypes.CDLL | str:
    """Return the library, or the reason why there is none and what to do."""
    if os.environ.get("MAMBAIRV2_NO_NATIVE"):
        return "switched off by MAMBAIRV2_NO_NATIVE"
    path = _find()
    if path is None:
        return "the package was installed without a C++ compiler; install g++ or clang and reinstall"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return f"{path} could not be loaded ({error})"
    if library.mambairv2_abi() != ABI:
        return f"{path} is of another version; reinstall the package"
    library.mambairv2_isa.restype = ctypes.c_char_p
    return library


def _find() -> Path | None:
    # Not relative to __file__: an editable install keeps the library elsewhere, and tells only the import system.
    spec = importlib.util.find_spec("mambairv2._kernels")
    return Path(spec.origin) if spec is not None and spec.origin else None


def library() -> ctypes.CDLL:
    """Return the library; raises RuntimeError with the reason where there is none."""
    found = load()
    if isinstance(found, str):
        raise RuntimeError(f"native kernels are not available: {found}")
    return found


def isa() -> str:
    """Return the instruction set in use: avx512, avx2 or portable."""
    name: bytes = library().mambairv2_isa()
    return name.decode()


def width(dtype: torch.dtype) -> int:
    """Return the channels that one vector of the scan holds."""
    return int(getattr(library(), f"mambairv2_width_{DTYPES[dtype]}")())


def call(name: str, dtype: torch.dtype, args: ctypes.Structure) -> None:
    """Run `mambairv2_NAME_DTYPE`; the interpreter lock is released meanwhile."""
    getattr(library(), f"mambairv2_{name}_{DTYPES[dtype]}")(ctypes.byref(args))


def check_dtype(*tensors: Tensor | None) -> None:
    """Raise ValueError unless the tensors share a dtype that the kernels take."""
    found = {t.dtype for t in tensors if t is not None}
    if len(found) != 1 or not found <= DTYPES.keys():
        raise ValueError(f"the native kernels take float32 or float64, one for all; got {sorted(map(str, found))}")


def parts_for(tasks: int) -> int:
    """Return into how many sums the gradient of a weight is split: a number that threads do not change."""
    return max(1, min(PARTS, tasks))


def pointer(tensor: Tensor | None) -> int | None:
    """Return a tensor's address, None for none."""
    return None if tensor is None else tensor.data_ptr()


def rows(tensor: Tensor) -> Tensor:
    """Return a (B, L, n) tensor whose tokens lie at one stride, copied only if they do not."""
    batch, length, _ = tensor.shape
    even = tensor.stride(2) == 1 and (batch == 1 or tensor.stride(0) == length * tensor.stride(1))
    return tensor if even and length > 1 else tensor.contiguous()
