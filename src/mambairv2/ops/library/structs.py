"""The C structs that the kernels take, field by field as in csrc/abi/structs.h."""

from __future__ import annotations

import ctypes
from typing import ClassVar

from torch import Tensor

_P, _L, _I, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double
_Kind = type[ctypes.c_void_p | ctypes.c_int64 | ctypes.c_int32 | ctypes.c_double]


_NUMBERS = (int, float, bool)


def _fields(kind: _Kind, names: str) -> list[tuple[str, _Kind]]:
    return [(name, kind) for name in names.split()]


class Arguments(ctypes.Structure):
    """A struct filled by name: a tensor becomes its address, None and what is not named become 0.

    It keeps its tensors alive, and those of the structs inside it. Raises TypeError for a name that it has not.
    """

    _names: ClassVar[frozenset[str]]

    def __init__(self, **fields: Tensor | Arguments | float | None) -> None:
        if not fields.keys() <= self._names:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(fields.keys() - self._names))}")
        super().__init__()
        self.alive: list[Tensor | Arguments | float] = []
        for name, value in fields.items():
            if value is None:
                continue
            if type(value) in _NUMBERS:  # apart, since isinstance of a tensor takes long, and an inference fills 400
                setattr(self, name, value)
                continue
            self.alive.append(value)
            setattr(self, name, value.data_ptr() if isinstance(value, Tensor) else value)

    def __init_subclass__(cls) -> None:
        cls._names = frozenset(field[0] for field in cls._fields_)


class ScanArgs(Arguments):
    """`mir::ScanArgs`."""

    _fields_ = [
        *_fields(_P, "u delta A B C D bias prompt order y last states"),
        *_fields(_L, "batch length channels n u_stride delta_stride B_stride C_stride prompt_stride"),
        *_fields(_I, "softplus threads"),
        *_fields(_P, "delta_weight"),
        *_fields(_L, "rank"),
    ]


class ScanGradArgs(Arguments):
    """`mir::ScanGradArgs`."""

    _fields_ = [("forward", ScanArgs), *_fields(_P, "dy du ddelta dB dC dA dD dbias")]


class AttentionArgs(Arguments):
    """`mir::AttentionArgs`."""

    _fields_ = [
        *_fields(_P, "qkv table out lse"),
        *_fields(_L, "batch height width heads dim shift"),
        *_fields(_I, "threads"),
    ]


class AttentionGradArgs(Arguments):
    """`mir::AttentionGradArgs`."""

    _fields_ = [("forward", AttentionArgs), *_fields(_P, "dout dqkv dtable"), *_fields(_L, "parts")]


class AttentionBlockArgs(Arguments):
    """`mir::AttentionBlockArgs`."""

    _fields_ = [
        ("attention", AttentionArgs),
        *_fields(_P, "x gamma beta qkv_weight qkv_bias proj_weight proj_bias mixed"),
        *_fields(_D, "eps"),
    ]


class LinearArgs(Arguments):
    """`mir::LinearArgs`."""

    _fields_ = [
        *_fields(_P, "x weight bias gamma beta residual skip scale y"),
        *_fields(_L, "rows inside outside x_stride"),
        *_fields(_D, "eps"),
        *_fields(_I, "gelu threads"),
    ]


class LinearGradArgs(Arguments):
    """`mir::LinearGradArgs`."""

    _fields_ = [
        ("forward", LinearArgs),
        *_fields(_P, "dy around dx dskip dweight dbias dgamma dbeta dscale"),
        *_fields(_L, "parts"),
    ]


class DepthwiseArgs(Arguments):
    """`mir::DepthwiseArgs`."""

    _fields_ = [
        *_fields(_P, "x weight bias gamma beta y conv"),
        *_fields(_L, "batch height width channels kernel"),
        *_fields(_D, "eps"),
        *_fields(_I, "mode threads"),
    ]


class DepthwiseGradArgs(Arguments):
    """`mir::DepthwiseGradArgs`."""

    _fields_ = [
        ("forward", DepthwiseArgs),
        *_fields(_P, "dy dx dweight dbias dgamma dbeta"),
        *_fields(_L, "parts"),
    ]


class ConvBlockArgs(Arguments):
    """`mir::ConvBlockArgs`."""

    _fields_ = [("first", LinearArgs), ("conv", DepthwiseArgs), ("last", LinearArgs)]


class RoutingArgs(Arguments):
    """`mir::RoutingArgs`."""

    _fields_ = [*_fields(_P, "logits label order"), *_fields(_L, "batch length prompts"), *_fields(_I, "threads")]


class ChoiceArgs(Arguments):
    """`mir::ChoiceArgs`."""

    _fields_ = [
        ("first", LinearArgs),
        ("second", LinearArgs),
        *_fields(_P, "pool label prompt"),
        *_fields(_L, "width"),
    ]


class NoiseArgs(Arguments):
    """`mir::NoiseArgs`."""

    _fields_ = [*_fields(_P, "seeds noise"), *_fields(_L, "batch count"), *_fields(_I, "threads")]


class DrawArgs(Arguments):
    """`mir::DrawArgs`."""

    _fields_ = [
        *_fields(_P, "logits noise pool label prompt soft"),
        *_fields(_L, "tokens prompts width"),
        *_fields(_D, "temperature"),
        *_fields(_I, "threads"),
    ]


class DrawGradArgs(Arguments):
    """`mir::DrawGradArgs`."""

    _fields_ = [("forward", DrawArgs), *_fields(_P, "dprompt dlogits dpool"), *_fields(_L, "parts")]
