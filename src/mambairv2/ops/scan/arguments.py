"""The arguments of a scan, and the scan as a PyTorch operator, one for each backend.

Shape legend: B batch, L tokens, D channels, N states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mambairv2.ops.registration import define, needs_gradient, schema_of


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
        """Return the tensors of real numbers."""
        tensors = (self.u, self.delta, self.A, self.B, self.C, self.D, self.delta_bias, self.prompt)
        return [t for t in tensors if t is not None]

    def with_real(self, change: Callable[[Tensor], Tensor]) -> Scan:
        """Return the scan with every tensor of real numbers changed."""
        return self._replace(
            u=change(self.u),
            delta=change(self.delta),
            A=change(self.A),
            B=change(self.B),
            C=change(self.C),
            D=change(self.D),
            delta_bias=change(self.delta_bias),
            prompt=None if self.prompt is None else change(self.prompt),
        )

    def laid_out(self) -> Scan:
        """Return the scan as kernels read it: tokens at one stride, everything else contiguous."""
        order = None if self.order is None else self.order.contiguous()
        return self.with_real(lambda t: rows(t) if t.ndim == 3 else t.contiguous())._replace(order=order)


class ScanGradients(NamedTuple):
    """The gradients of a scan, as it comes; that of the prompt is `prompt_gradient`."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    delta_bias: Tensor


_SCAN = schema_of(Scan)


def prompt_gradient(dC: Tensor, order: Tensor | None) -> Tensor:
    """Return the gradient of the prompts (B, L, N): that of step i is that of C of the token it visits."""
    return dC if order is None else dC.gather(1, order[..., None].expand_as(dC))


def scan_operator(
    backend: str,
    forward: Callable[[Scan, bool], tuple[Tensor, Tensor, Tensor]],
    backward: Callable[[Tensor, Scan, Tensor], ScanGradients],
    outputs: Callable[[Scan, bool], tuple[Tensor, Tensor, Tensor]],
    dispatch: str,
) -> Callable[[Scan], tuple[Tensor, Tensor]]:
    """Return a scan that gives y (B, L, D) and the last state (B, D, N), with gradients through y.

    forward: a scan, and whether to keep states for the backward pass, to y, the last state, and those (empty if not
    kept). backward: dy, the scan and its states to the gradients. outputs: allocates what forward returns.
    """

    def run_backward(dy, *inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        *scan, states = inputs
        return list(backward(dy, Scan(*scan), states))

    def gradient_shapes(dy, *inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        *fields, _ = inputs
        scan = Scan(*fields)
        return [t.new_empty(t.shape) for t in scan._replace(prompt=None).real()]

    backward_operator = define(
        f"selective_scan_backward_{backend}",
        f"(Tensor dy, {_SCAN}, Tensor states) -> Tensor[]",
        run_backward,
        gradient_shapes,
        dispatch=dispatch,
    )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        *tensors, ctx.delta_softplus, _ = inputs
        *_, states = output
        ctx.save_for_backward(*tensors, states)

    def gradient(ctx, dy, _last, _states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        *tensors, states = ctx.saved_tensors
        scan = Scan._make((*tensors, ctx.delta_softplus))
        grads = ScanGradients(*backward_operator(dy, *scan, states))
        dprompt = None if scan.prompt is None else prompt_gradient(grads.C, scan.order).to(scan.prompt.dtype)
        return *grads, None, dprompt, None, None

    def run_forward(*inputs):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        *scan, keep_states = inputs
        return forward(Scan(*scan), keep_states)

    def shapes(*inputs):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        *scan, keep_states = inputs
        return outputs(Scan(*scan), keep_states)

    forward_operator = define(
        f"selective_scan_{backend}",
        f"({_SCAN}, bool keep_states) -> (Tensor, Tensor, Tensor)",
        run_forward,
        shapes,
        dispatch=dispatch,
        gradient=gradient,
        save=save,
    )

    def run(scan: Scan) -> tuple[Tensor, Tensor]:
        y, last, _ = forward_operator(*scan, needs_gradient(*scan.real()))
        return y, last

    return run


def rows(tensor: Tensor) -> Tensor:
    """Return a (B, L, n) tensor whose tokens lie at one stride, copied only if they do not."""
    batch, length, _ = tensor.shape
    even = tensor.stride(2) == 1 and (batch == 1 or tensor.stride(0) == length * tensor.stride(1))
    return tensor if even and length > 1 else tensor.contiguous()
