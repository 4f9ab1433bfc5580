"""The depthwise kernels by themselves, with their gradient: in the package they are parts of larger operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mambairv2.ops.dense.depthwise import MODES, Depthwise, Mode, depthwise_backward, depthwise_forward
from mambairv2.ops.dense.linear import Norm


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        y, conv = depthwise_forward(Depthwise(*given))
        ctx.options = given[5:]
        ctx.save_for_backward(*given[:5], conv)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        *tensors, conv = ctx.saved_tensors
        *gradients, dgamma, dbeta = depthwise_backward(dy, Depthwise(*tensors, *ctx.options), conv)
        return *gradients, *((dgamma, dbeta) if tensors[3] is not None else (None, None)), None, None


def depthwise_kernel(x: Tensor, weight: Tensor, bias: Tensor, mode: Mode, *, norm: Norm | None = None) -> Tensor:
    """Return what `mambairv2.ops.dense.depthwise.depthwise` does, by the kernels."""
    gamma, beta, eps = norm if norm is not None else (None, None, 0.0)
    y: Tensor = _Kernel.apply(x, weight, bias, gamma, beta, MODES.index(mode), eps)
    return y
