"""Window attention as a PyTorch operator, one for each backend.

Shape legend: B batch, H W height and width, M window side, E channels, h heads.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mambairv2.ops.registration import define, needs_gradient


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
