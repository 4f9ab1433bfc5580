"""The library of compiled kernels: finding it, checking it, calling it."""

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


# Found at import, so that torch.compile meets a constant and no loading of libraries.
_FOUND = load()
_REASON = _FOUND if isinstance(_FOUND, str) else None


def unavailable() -> str | None:
    """Return why the kernels cannot run here, or None if they can."""
    return _REASON
