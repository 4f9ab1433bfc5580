"""Whether a block may run fused: as a few kernels that read its sub-modules' weights without calling them.

Hooks, adapters, quantizers and counters work on sub-modules. A block with such a change runs as the paper's figure
has it, every sub-module called, so that the change takes effect.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from mambairv2.ops.backend_choice import Backends, dense_backend


def runs_fused(x: Tensor, parts: tuple[nn.Module, ...], block: nn.Module, backends: Backends) -> bool:
    """Return whether a block runs fused for tensors like x: on the native backend, and with untouched sub-modules.

    parts: the sub-modules that the block was built with, as `built_parts` gave them.
    """
    return dense_backend(x, backends.dense) == "native" and not _has_any_global_hook() and _untouched(parts, block)


def built_parts(block: nn.Module) -> tuple[nn.Module, ...]:
    """Return all sub-modules of a block, at any depth, in order."""
    return tuple(module for module in block.modules() if module is not block)


def _untouched(parts: tuple[nn.Module, ...], block: nn.Module) -> bool:
    now = built_parts(block)
    return len(now) == len(parts) and all(
        module is part and not _is_hooked(module) for module, part in zip(now, parts, strict=True)
    )


def _is_hooked(module: nn.Module) -> bool:
    """Return whether calling a module does more than its class's forward."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in module.__dict__ or module._compiled_call_impl is not None
