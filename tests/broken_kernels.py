"""Kernels broken on purpose, in this process or in those that it starts."""

from __future__ import annotations

import ctypes
from functools import reduce

import torch

from mambairv2.ops.library import loader

RESULTS = {
    "scan_forward": "y",
    "scan_backward": "ddelta",
    "attention_forward": "out",
    "attention_backward": "dtable",
    "attention_block_forward": "attention.out",
    "linear_forward": "y",
    "linear_backward": "dweight",
    "depthwise_forward": "y",
    "depthwise_backward": "dbias",
    "conv_block_forward": "last.y",
    "likeliest": "label",
    "sort_by_label": "order",
    "choose": "prompt",
    "noise": "noise",
    "draw_forward": "prompt",
    "draw_backward": "dlogits",
}
"""One of the results of every native kernel, as its struct names it."""
_NUMBERS = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}
_call = loader.call


def broken_call(broken: str):
    """Return `loader.call`, but for one kernel, of whose result the first number is 1 too large."""

    def call(name, dtype, args):
        _call(name, dtype, args)
        if name == broken:
            address = reduce(getattr, RESULTS[name].split("."), args)
            kind = ctypes.c_int64 if RESULTS[name] in ("label", "order") else _NUMBERS[dtype]
            if address:
                kind.from_address(address).value += 1

    return call


def break_native(broken: str) -> None:
    loader.call = broken_call(broken)


def break_triton(error: str = "") -> None:
    """Let the scan's launch add 0.01, or raise an error."""
    from mambairv2.ops.scan import triton_launch

    right = triton_launch.scan_forward

    def wrong(scan, keep_states):
        if error:
            raise RuntimeError(error)
        y, *rest = right(scan, keep_states)
        return y + 0.01, *rest

    triton_launch.scan_forward = wrong


def in_every_process(monkeypatch, folder, statement: str) -> None:
    """Run a statement of this module at the start of every Python that is started from here."""
    (folder / "sitecustomize.py").write_text(f"import broken_kernels\nbroken_kernels.{statement}\n")
    monkeypatch.syspath_prepend(folder)
