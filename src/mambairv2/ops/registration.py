"""How a kernel becomes a PyTorch operator: its schema, its shapes for tracing, its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

Given = TypeVar("Given")
"""A NamedTuple of what an operator takes."""

_LIBRARY = torch.library.Library("mambairv2", "FRAGMENT")
EVERY_DEVICE = "CompositeExplicitAutograd"
_TYPES = {Tensor: "Tensor", Tensor | None: "Tensor?", float: "float", int: "SymInt", bool: "bool"}


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
    allocates what it returns, for tracing. gradient and save, given together, as the backward and setup_context of
    `torch.library.register_autograd`: for an operator of whose results only the first has gradients.
    """
    _LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, kernel, dispatch)
    torch.library.register_fake(f"mambairv2::{name}", shapes, lib=_LIBRARY)
    if gradient is not None and save is not None:
        _LIBRARY.impl(name, _with_gradient(name, gradient, save), "Autograd")
    operator: Callable[..., Any] = getattr(torch.ops.mambairv2, name).default
    return operator


def _with_gradient(name: str, gradient: Callable[..., Any], save: Callable[..., None]) -> Callable[..., Any]:
    """Return what an operator does where autograd sees it.

    `torch.library.register_autograd` would read the schema anew at every call, which takes as long as a small kernel.
    """
    packet = getattr(torch.ops.mambairv2, name)

    def below(*inputs: Any) -> Any:  # noqa: ANN401
        with torch._C._AutoDispatchBelowAutograd():
            return packet.default(*inputs)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN205
            output = below(*inputs)
            ctx.set_materialize_grads(False)  # zeros as large as what was kept, which nobody would read
            ctx.inputs = len(inputs)
            save(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx, dy, *others):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN205
            return (None,) * ctx.inputs if dy is None else gradient(ctx, dy, *others)

    apply: Callable[..., Any] = Gradient.apply

    def run(*inputs: Any) -> Any:  # noqa: ANN401
        asked = needs_gradient(*(value for value in inputs if isinstance(value, Tensor)))
        return apply(*inputs) if asked else below(*inputs)

    return run


def schema_of(given: Callable[..., Given]) -> str:
    """Return the fields of a NamedTuple as PyTorch writes the arguments of an operator."""
    return ", ".join(f"{_TYPES[kind]} {name}" for name, kind in get_type_hints(given).items())


def block_operator(
    name: str,
    given: Callable[..., Given],
    kept: int,
    forward: Callable[[Given, bool], tuple[Tensor, ...]],
    backward: Callable[..., Sequence[Tensor | None]],
    shapes: Callable[[Given, bool], tuple[Tensor, ...]],
) -> Callable[[Given], Tensor]:
    """Return an operator of the native kernels that does the work of several, with gradients through its one result.

    given: the NamedTuple that it takes, tensors first. forward: that, and whether to keep what the backward pass needs,
    to the result and `kept` tensors more (empty if not kept). backward: the gradient of the result, what was given, and
    the kept tensors one by one, to a gradient for each tensor given. shapes: allocates what forward returns.
    """
    schema, fields = schema_of(given), len(get_type_hints(given))
    tensors = schema.count("Tensor")

    def run_forward(*inputs):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        *values, keep = inputs
        return forward(given(*values), keep)

    def allocate(*inputs):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        *values, keep = inputs
        return shapes(given(*values), keep)

    def run_backward(dy, *inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        gradients = backward(dy, given(*inputs[:fields]), *inputs[fields:])
        return [dy.new_empty(0) if grad is None else grad for grad in gradients]  # an operator returns no None

    backward_operator = define(
        f"{name}_backward_native",
        f"(Tensor dy, {schema}, {', '.join(f'Tensor kept{i}' for i in range(kept))}) -> Tensor[]",
        run_backward,
        lambda dy, *inputs: [dy.new_empty(t.shape if _real(t) else 0) for t in inputs[:tensors]],
    )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        *values, _ = inputs
        _, *keep = output
        ctx.options = values[tensors:]
        ctx.save_for_backward(*values[:tensors], *keep)

    def gradient(ctx, dy, *_):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        saved = ctx.saved_tensors
        grads = backward_operator(dy, *saved[:tensors], *ctx.options, *saved[tensors:])
        options = [None] * (len(ctx.options) + 1)
        return *(grad if _real(t) else None for grad, t in zip(grads, saved, strict=False)), *options

    forward_operator = define(
        f"{name}_native",
        f"({schema}, bool keep) -> ({', '.join(['Tensor'] * (1 + kept))})",
        run_forward,
        allocate,
        gradient=gradient,
        save=save,
    )

    def run(values: Given) -> Tensor:
        fields: tuple[Tensor | None, ...] = tuple(values)  # type: ignore[arg-type]
        result: Tensor = forward_operator(*fields, needs_gradient(*fields[:tensors]))[0]
        return result

    return run


def contiguous(given: Given) -> Given:
    """Return a NamedTuple with its tensors contiguous."""
    values = [v.contiguous() if isinstance(v, Tensor) else v for v in given]  # type: ignore[attr-defined]
    return type(given)(*values)


def _real(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_floating_point()


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass may come, for which an operator has to keep something."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
