"""Records calls of every native kernel, for `replay.cpp` on another processor or system: `record.py FILE`.

The calls are those of `mambairv2 check`, in float32 and float64, with and without gradients. Vectors must be as wide as
where they are replayed: `MAMBAIRV2_ISA=portable` records 16 bytes, which is what ARM has.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from mambairv2.ops.library import loader
from mambairv2.ops.library.structs import Arguments
from mambairv2.ops.self_check import comparison
from mambairv2.ops.self_check.cases import cases

MAGIC = "mambairv2 cases 1"
KINDS = {torch.float32: 0, torch.float64: 1, torch.int64: 2}


def fields(args: Arguments, kind: type, base: int = 0) -> Iterator[tuple[str, int, int | None]]:
    """Yield name, offset and value of each field of a kind, those of inner structs too."""
    for name, field_kind in args._fields_:
        at = base + getattr(type(args), name).offset
        value = getattr(args, name)
        if issubclass(field_kind, Arguments):
            yield from fields(value, kind, at)
        elif field_kind is kind:
            yield name, at, value


def tensors(args: Arguments) -> Iterator[Tensor]:
    """Yield the tensors that a struct points into."""
    for value in args.alive:
        if isinstance(value, Tensor):
            yield value
        else:
            yield from tensors(value)


class Recorder:
    """Stands for `loader.call`: runs the kernel and writes down what it read and wrote."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.call = file, loader.call

    def __call__(self, name: str, dtype: torch.dtype, args: Arguments) -> None:
        # It reads no real number, so that Python needs it for one dtype only.
        for kind in loader.DTYPES if name == "sort_by_label" else [dtype]:
            self.record(name, kind, args)

    def record(self, name: str, dtype: torch.dtype, args: Arguments) -> None:
        storages: dict[int, Tensor] = {}  # where each begins → all of it
        for tensor in tensors(args):
            whole = tensor.new_empty(0).set_(tensor.untyped_storage())
            storages[whole.data_ptr()] = whole
        begins = list(storages)
        pointers = []
        for field, at, value in fields(args, ctypes.c_void_p):
            if value is None:
                continue
            ends = {begin: begin + t.nbytes for begin, t in storages.items()}
            begin = next((b for b in begins if b <= value < ends[b] or b == value), None)
            assert begin is not None, f"{name}: {field} points to no tensor"
            pointers.append((at, begins.index(begin), value - begin))
        before = [storage.clone() for storage in storages.values()]
        self.call(name, dtype, args)
        after = [storage.clone() for storage in storages.values()]
        self.text(f"{name}_{loader.DTYPES[dtype]}")
        self.bytes(bytes(args))
        threads = [at for field, at, _ in fields(args, ctypes.c_int32) if field == "threads"]
        assert threads, f"{name}: no number of threads"
        self.numbers(len(threads), *threads)
        self.numbers(len(pointers), *(number for pointer in pointers for number in pointer))
        self.numbers(len(before))
        for old, new in zip(before, after, strict=True):
            self.numbers(KINDS[old.dtype])
            self.bytes(old.numpy().tobytes())
            self.bytes(new.numpy().tobytes())

    def numbers(self, *values: int) -> None:
        self.file.write(struct.pack(f"<{len(values)}q", *values))

    def bytes(self, value: bytes) -> None:
        self.numbers(len(value))
        self.file.write(value)

    def text(self, value: str) -> None:
        self.bytes(value.encode())

    def header(self) -> None:
        self.text(MAGIC)
        layout = loader.expected_layout()
        self.numbers(len(layout))
        for name, value in layout.items():
            self.text(name)
            self.numbers(value)
        self.numbers(*(loader.width(dtype) for dtype in loader.DTYPES))


def record(path: Path) -> list[str]:
    """Record every case into a file; return what differs from the reference."""
    comparison.TIMED_CALLS = 1
    with path.open("wb") as file:
        recorder = Recorder(file)
        recorder.header()
        loader.call = recorder
        try:
            results = comparison.check_all(cases(), "native", "cpu", torch.device("cpu"), list(loader.DTYPES))
        finally:
            loader.call = recorder.call
        recorder.text("")
    return [f"{result.operation}: {result.fault}" for result in results if not result.agrees]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if wrong := record(Path(sys.argv[1])):
        sys.exit("\n".join(wrong))
    print(loader.isa())
