"""The library of compiled kernels: finding it, checking it, calling it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mambairv2.ops.library.structs import Arguments

ABI = 10
CHUNK = 64
MAX_RANK = 16
MAX_STATES = 64
MAX_KERNEL = 15
WINDOW = 16
TABLE = (2 * WINDOW - 1) ** 2
PARTS = 16
DTYPES = {torch.float32: "f32", torch.float64: "f64"}

_MESSAGE = 256
_OK, _OUT_OF_MEMORY = 0, 1  # what a kernel returns; any other value comes with a message


class _Entry(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_int64))


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
    mismatch = _mismatch(library)
    if mismatch is not None:
        return f"{path} was compiled for another version of the package ({mismatch}); reinstall the package"
    library.mambairv2_isa.restype = ctypes.c_char_p
    return library


def _find() -> Path | None:
    named = os.environ.get("MAMBAIRV2_LIBRARY")
    if named:
        return Path(named)
    # Not relative to __file__: an editable install keeps the library elsewhere, and tells only the import system.
    spec = importlib.util.find_spec("mambairv2._kernels")
    return Path(spec.origin) if spec is not None and spec.origin else None


def expected_layout() -> dict[str, int]:
    """Return what the library must agree with: constants, and the size of each struct in bytes."""
    constants = {"ABI": ABI, "SCAN_CHUNK": CHUNK, "MAX_RANK": MAX_RANK, "MAX_STATES": MAX_STATES}
    constants |= {"MAX_KERNEL": MAX_KERNEL, "WINDOW": WINDOW, "TABLE": TABLE, "MESSAGE": _MESSAGE}
    return constants | {struct.__name__: ctypes.sizeof(struct) for struct in Arguments.__subclasses__()}


def _mismatch(library: ctypes.CDLL) -> str | None:
    """Return the first thing in which the library differs, None if it fits."""
    if not hasattr(library, "mambairv2_layout"):
        return "it does not tell its layout"
    found = dict(_layout(library))
    for name, here in expected_layout().items():
        there = found.get(name)
        if there != here:
            return f"{name} is {'not known' if there is None else there} there and {here} here"
    return None


def _layout(library: ctypes.CDLL) -> Iterator[tuple[str, int]]:
    library.mambairv2_layout.restype = ctypes.POINTER(_Entry)
    for entry in library.mambairv2_layout():  # without an end of its own
        if entry.name is None:
            return
        yield entry.name.decode(), entry.value


def library() -> ctypes.CDLL:
    """Return the library; raises RuntimeError with the reason where there is none."""
    found = load()
    if isinstance(found, str):
        raise RuntimeError(f"native kernels are not available: {found}")
    return found


def isa() -> str:
    """Return the instruction set in use: avx512bf16, avx512, avx2 or portable."""
    name: bytes = library().mambairv2_isa()
    return name.decode()


def width(dtype: torch.dtype) -> int:
    """Return the channels that one vector of the scan holds."""
    return int(getattr(library(), f"mambairv2_width_{DTYPES[dtype]}")())


def call(name: str, dtype: torch.dtype, args: Arguments) -> None:
    """Run `mambairv2_NAME_DTYPE`; the interpreter lock is released meanwhile.

    bfloat16: its tensors are of float32, and rounded where they are multiplied. Raises MemoryError where the kernel
    found no memory, RuntimeError with its text for any other failure.
    """
    message = ctypes.create_string_buffer(_MESSAGE)
    suffix = "bf16" if dtype == torch.bfloat16 else DTYPES[dtype]
    status = getattr(library(), f"mambairv2_{name}_{suffix}")(ctypes.byref(args), message)
    if status == _OUT_OF_MEMORY:
        raise MemoryError(f"not enough memory for the native kernel {name}")
    if status != _OK:
        raise RuntimeError(f"the native kernel {name} failed: {message.value.decode(errors='replace')}")


def check_dtype(*tensors: Tensor | None) -> None:
    """Raise ValueError unless the tensors share a dtype that the kernels take."""
    found = {t.dtype for t in tensors if t is not None}
    if len(found) != 1 or not found <= DTYPES.keys():
        raise ValueError(f"the native kernels take float32 or float64, one for all; got {sorted(map(str, found))}")


def parts_for(tasks: int) -> int:
    """Return into how many sums the gradient of a weight is split: a number that threads do not change."""
    return max(1, min(PARTS, tasks))


# Found at import, so that torch.compile meets a constant and no loading of libraries.
_FOUND = load()
_REASON = _FOUND if isinstance(_FOUND, str) else None


def unavailable() -> str | None:
    """Return why the kernels cannot run here, or None if they can."""
    return _REASON


def _why_not_bfloat16() -> str | None:
    if _REASON is not None:
        return _REASON
    if library().mambairv2_has_bfloat16():
        return None
    return f"the processor has no AVX512-BF16 (the kernels run by {isa()})"


_NO_BFLOAT16 = _why_not_bfloat16()


def without_bfloat16() -> str | None:
    """Return why the kernels cannot multiply in bfloat16 here, or None if they can."""
    return _NO_BFLOAT16
