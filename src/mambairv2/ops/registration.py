"""How a kernel becomes a PyTorch operator: its schema, its shapes for tracing, its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("mambairv2", "FRAGMENT")
EVERY_DEVICE = "CompositeExplicitAutograd"


def define(
    name: str,
    schema: str,
    kernel: Callable[..., Any],
    shapes: Callable[..., Any],
    *,
    dispatch: str = "CPU",
    gradient: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> Callable[..., Any]:
    """Register the operator `mambairv2::NAME` and return it.

    schema: its arguments and results as PyTorch writes them. kernel runs it for tensors of the dispatch key; shapes
    allocates what it returns, for tracing. gradient and save, given together, as `torch.library.register_autograd`
    takes them: for an operator of whose results only the first has gradients.
    """
    _LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, kernel, dispatch)
    torch.library.register_fake(f"mambairv2::{name}", shapes, lib=_LIBRARY)
    if gradient is not None and save is not None:

        def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            ctx.set_materialize_grads(False)  # zeros as large as what was kept, which nobody would read
            ctx.inputs = len(inputs)
            save(ctx, inputs, output)

        def backward(ctx, dy, *others):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
            return (None,) * ctx.inputs if dy is None else gradient(ctx, dy, *others)

        torch.library.register_autograd(f"mambairv2::{name}", backward, setup_context=setup_context, lib=_LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.mambairv2, name).default
    return operator


def block_operator(
    name: str,
    schema: str,
    results: int,
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., list[Tensor | None]],
    shapes: Callable[..., tuple[Tensor, ...]],
) -> Callable[..., Tensor]:
    """Return an operator of the native kernels that does the work of several, with gradients through its one result.

    schema: its arguments, tensors first. forward: those, and whether to keep what the backward pass needs, to the
    result and what is kept, `results` tensors in all (kept ones empty if not kept). backward: the gradient of the
    result, the arguments and what was kept, to a gradient for each tensor. shapes: allocates what forward returns.
    """
    tensors = schema.count("Tensor")
    kept = ", ".join(f"Tensor kept{i}" for i in range(1, results))
    run_backward = define(  # an operator returns no None: what has no gradient has an empty one
        f"{name}_backward_native",
        f"(Tensor dy, {schema}, {kept}) -> Tensor[]",
        lambda dy, *given: [dy.new_empty(0) if grad is None else grad for grad in backward(dy, *given)],
        lambda dy, *given: [dy.new_empty(t.shape if _real(t) else 0) for t in given[:tensors]],
    )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.options = inputs[tensors:-1]
        ctx.save_for_backward(*inputs[:tensors], *output[1:])

    def gradient(ctx, dy, *_):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        saved = ctx.saved_tensors
        grads = run_backward(dy, *saved[:tensors], *ctx.options, *saved[tensors:])
        options = [None] * (len(ctx.options) + 1)
        return *(grad if _real(t) else None for grad, t in zip(grads, saved, strict=False)), *options

    run_forward = define(
        f"{name}_native",
        f"({schema}, bool keep) -> ({', '.join(['Tensor'] * results)})",
        forward,
        shapes,
        gradient=gradient,
        save=save,
    )
    return lambda *given: run_forward(*given, needs_gradient(*given[:tensors]))[0]


def _real(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_floating_point()


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass may come, for which an operator has to keep something."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
