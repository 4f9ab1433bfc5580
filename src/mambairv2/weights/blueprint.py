"""A network without values, to compare the tensors of a file with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch.overrides import TorchFunctionMode

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2

Network = TypeVar("Network", bound=MambaIRv2)
_INITIALISERS = {"kaiming_uniform_", "normal_", "trunc_normal_", "uniform_"}


def blueprint(config: MambaIRv2Config, make: Callable[[MambaIRv2Config], Network]) -> Network:
    """Return a network on the meta device: parameters have shapes, but no memory and no values.

    make: the class of the network.
    Raises RuntimeError, TypeError, ValueError or OverflowError for a configuration that defines no network.
    """
    with torch.device("meta"), _Uninitialised():
        return make(config)


class _Uninitialised(TorchFunctionMode):
    """Skips the functions that fill a parameter with initial values.

    The meta device computes no values either, but PyTorch loads 900 modules for that, Triton among them: 1.2 s, and
    180 MiB of addresses.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _INITIALISERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
