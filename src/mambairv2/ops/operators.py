"""How the scan and the attention become PyTorch operators: schema, shapes for tracing, autograd; one for each backend.

Shape legend: B batch, L tokens, D channels, N states, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambairv2.ops.native import rows

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
        f"{name}_backward_cpu",
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
        f"{name}_cpu",
        f"({schema}, bool keep) -> ({', '.join(['Tensor'] * results)})",
        forward,
        shapes,
        gradient=gradient,
        save=save,
    )
    return lambda *given: run_forward(*given, needs_gradient(*given[:tensors]))[0]


def _real(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_floating_point()


class Scan(NamedTuple):
    """The arguments of a scan, as `ops.selective_scan.selective_scan` says."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    delta_bias: Tensor
    order: Tensor | None = None
    prompt: Tensor | None = None
    delta_softplus: bool = True

    def real(self) -> list[Tensor]:
        """Return the tensors of real numbers, prompt last if there is one."""
        return [*self[:7], *(() if self.prompt is None else (self.prompt,))]

    def with_real(self, change: Callable[[Tensor], Tensor]) -> Scan:
        """Return the scan with every tensor of real numbers changed."""
        u, delta, A, B, C, D, bias = map(change, self[:7])
        prompt = None if self.prompt is None else change(self.prompt)
        return Scan(u, delta, A, B, C, D, bias, self.order, prompt, self.delta_softplus)

    def laid_out(self) -> Scan:
        """Return the scan as kernels read it: tokens at one stride, everything else contiguous."""
        order = None if self.order is None else self.order.contiguous()
        return self.with_real(lambda t: rows(t) if t.ndim == 3 else t.contiguous())._replace(order=order)

    def strides(self) -> list[int]:
        """Return from one token to the next of u, delta, B, C and the prompt (0 without one), laid out."""
        return [0 if t is None else t.stride(1) for t in (self.u, self.delta, self.B, self.C, self.prompt)]


SCAN = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor delta_bias, Tensor? order, Tensor? prompt, "
    "bool delta_softplus"
)


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass may come, for which an operator has to keep something."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def prompt_gradient(dC: Tensor, order: Tensor | None) -> Tensor:
    """Return the gradient of the prompts (B, L, N): that of step i is that of C of the token it visits."""
    return dC if order is None else dC.gather(1, order[..., None].expand_as(dC))


def scan_operator(
    backend: str,
    forward: Callable[[Scan, bool], tuple[Tensor, Tensor, Tensor]],
    backward: Callable[[Tensor, Scan, Tensor], list[Tensor]],
    outputs: Callable[[Scan, bool], tuple[Tensor, Tensor, Tensor]],
    dispatch: str,
) -> Callable[[Scan], tuple[Tensor, Tensor]]:
    """Return a scan that gives y (B, L, D) and the last state (B, D, N), with gradients through y.

    forward: a scan, and whether to keep states for the backward pass, to y, the last state, and those (empty if not
    kept). backward: dy, the scan and its states to du, ddelta, dA, dB, dC, dD, ddelta_bias. outputs: allocates what
    forward returns.
    """
    run_backward = define(
        f"selective_scan_backward_{backend}",
        f"(Tensor dy, {SCAN}, Tensor states) -> Tensor[]",
        lambda dy, *args: backward(dy, Scan(*args[:-1]), args[-1]),
        lambda dy, *args: [t.new_empty(t.shape) for t in args[:7]],
        dispatch=dispatch,
    )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        *tensors, ctx.delta_softplus, _ = inputs
        ctx.save_for_backward(*tensors, output[2])

    def gradient(ctx, dy, _last, _states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        *tensors, states = ctx.saved_tensors
        order, prompt = tensors[7:]
        grads = run_backward(dy, *tensors, ctx.delta_softplus, states)
        dprompt = None if prompt is None else prompt_gradient(grads[4], order).to(prompt.dtype)
        return *grads, None, dprompt, None, None

    run_forward = define(
        f"selective_scan_{backend}",
        f"({SCAN}, bool keep_states) -> (Tensor, Tensor, Tensor)",
        lambda *args: forward(Scan(*args[:-1]), args[-1]),
        lambda *args: outputs(Scan(*args[:-1]), args[-1]),
        dispatch=dispatch,
        gradient=gradient,
        save=save,
    )

    def run(scan: Scan) -> tuple[Tensor, Tensor]:
        y, last, _ = run_forward(*scan, needs_gradient(*scan.real()))
        return y, last

    return run


def attention_operator(
    backend: str,
    forward: Callable[[Tensor, Tensor, int, bool], tuple[Tensor, Tensor]],
    backward: Callable[[Tensor, Tensor, Tensor, int, Tensor, Tensor], tuple[Tensor, Tensor]],
    outputs: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]],
    dispatch: str,
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Return a window attention of qkv (B, H, W, 3E), the bias table ((2M-1)², h) and a shift, with gradients.

    forward: those, and whether to keep the log-sum-exp, to the output (B, H, W, E) and that (empty if not kept).
    backward: dout, qkv, table, shift, output and log-sum-exp to dqkv and dtable. outputs: allocates what forward
    returns.
    """
    run_backward = define(
        f"window_attention_backward_{backend}",
        "(Tensor dout, Tensor qkv, Tensor bias_table, SymInt shift, Tensor out, Tensor lse) -> (Tensor, Tensor)",
        backward,
        lambda dout, qkv, table, *_: (qkv.new_empty(qkv.shape), table.new_empty(table.shape)),
        dispatch=dispatch,
    )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        qkv, table, ctx.shift, _ = inputs
        ctx.save_for_backward(qkv, table, *output)

    def gradient(ctx, dout, _lse):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        qkv, table, out, lse = ctx.saved_tensors
        return *run_backward(dout, qkv, table, ctx.shift, out, lse), None, None

    run_forward = define(
        f"window_attention_{backend}",
        "(Tensor qkv, Tensor bias_table, SymInt shift, bool keep_lse) -> (Tensor, Tensor)",
        forward,
        lambda qkv, table, _, keep: outputs(qkv, table, keep),
        dispatch=dispatch,
        gradient=gradient,
        save=save,
    )

    def run(qkv: Tensor, bias_table: Tensor, shift: int) -> Tensor:
        out: Tensor = run_forward(qkv, bias_table, shift, needs_gradient(qkv, bias_table))[0]
        return out

    return run
