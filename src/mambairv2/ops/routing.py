"""Routing without gradients: the likeliest prompt of each token, and the tokens in the order of their prompts.

Shape legend: B batch, L tokens, T prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops import cpu, native


def likeliest_prompt(logits: Tensor) -> Tensor:
    """Return the first largest of each token's logits: (B, L, T), float, → (B, L) int64."""
    if _native(logits) and logits.dtype in native.DTYPES:
        label: Tensor = _likeliest(logits.detach())
        return label
    return logits.argmax(-1)


def neighbour_order(label: Tensor, prompts: int) -> Tensor:
    """Return the tokens sorted by label, ties in image order: (B, L) int64 in 0..prompts-1 → (B, L) int64.

    The published code leaves ties to the device: CUDA sorts in image order, a CPU in any order.
    """
    if _native(label):
        order: Tensor = _sort(label, prompts)
        return order
    return label.argsort(dim=1, stable=True)


def _native(tensor: Tensor) -> bool:
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tensor.device.type == "cpu" and cpu.unavailable() is None and not tracing


@torch.library.custom_op("mambairv2::likeliest_prompt_cpu", mutates_args=(), device_types="cpu")
def _likeliest(logits: Tensor) -> Tensor:
    logits = logits.contiguous()
    label = logits.new_empty(logits.shape[:2], dtype=torch.int64)
    args = native.RoutingArgs(logits.data_ptr(), label.data_ptr(), None, *logits.shape, torch.get_num_threads())
    native.call("likeliest", logits.dtype, args)
    return label


@_likeliest.register_fake
def _(logits: Tensor) -> Tensor:
    return logits.new_empty(logits.shape[:2], dtype=torch.int64)


@torch.library.custom_op("mambairv2::sort_by_label_cpu", mutates_args=(), device_types="cpu")
def _sort(label: Tensor, prompts: int) -> Tensor:
    label = label.contiguous()
    order = torch.empty_like(label)
    sizes = (*label.shape, prompts)
    args = native.RoutingArgs(None, label.data_ptr(), order.data_ptr(), *sizes, torch.get_num_threads())
    native.call("sort_by_label", torch.float32, args)
    return order


@_sort.register_fake
def _(label: Tensor, prompts: int) -> Tensor:
    return label.new_empty(label.shape)
