"""The C structs of the kernels (csrc/abi/structs.h)."""

from __future__ import annotations

import ctypes

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
