"""What autograd needs to know of the operators: the same for every device, but for the backward operator."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def save_scan(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Keep what the backward pass of a scan reads: its tensors and the states at chunk starts."""
    *tensors, ctx.delta_softplus, _ = inputs
    ctx.save_for_backward(*tensors, output[2])


def scan_gradient(backward: Callable[..., list[Tensor]]) -> Callable[..., tuple[Tensor | None, ...]]:
    """Return the autograd formula of a scan whose backward operator gives du, ddelta, dA, dB, dC, dD, dbias."""

    def gradient(ctx, dy, _last, _states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        *tensors, states = ctx.saved_tensors
        order, prompt = tensors[7:]
        grads = backward(dy, *tensors, ctx.delta_softplus, states)
        dprompt = None
        if prompt is not None:  # P of step i and C of the token it visits get the same gradient
            dprompt = grads[4]
            if order is not None:
                dprompt = dprompt.gather(1, order[..., None].expand_as(dprompt))
            dprompt = dprompt.to(prompt.dtype)
        return *grads, None, dprompt, None, None

    return gradient


def save_attention(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Keep what the backward pass of window attention reads: input, table, output, log-sum-exp."""
    qkv, table, ctx.shift, _ = inputs
    ctx.save_for_backward(qkv, table, *output)


def attention_gradient(
    backward: Callable[..., tuple[Tensor, Tensor]],
) -> Callable[..., tuple[Tensor | None, ...]]:
    """Return the autograd formula of window attention whose backward operator gives dqkv and dtable."""

    def gradient(ctx, dout, _lse):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        qkv, table, out, lse = ctx.saved_tensors
        return *backward(dout, qkv, table, ctx.shift, out, lse), None, None

    return gradient
