"""The arguments of a scan, and the scan as a PyTorch operator, one for each backend.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mambairv2.ops.registration import define, needs_gradient


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


def rows(tensor: Tensor) -> Tensor:
    """Return a (B, L, n) tensor whose tokens lie at one stride, copied only if they do not."""
    batch, length, _ = tensor.shape
    even = tensor.stride(2) == 1 and (batch == 1 or tensor.stride(0) == length * tensor.stride(1))
    return tensor if even and length > 1 else tensor.contiguous()
