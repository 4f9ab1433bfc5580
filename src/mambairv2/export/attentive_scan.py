"""The attentive state space module as ONNX operators: routing, semantic guided neighbouring and the selective scan.

Shape legend: B batch, L tokens of an image, S pieces of T tokens each (L = S·T), E channels, D hidden channels,
N states, K rank of the steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mambairv2.export.graph import FLOAT, Graph, Value
from mambairv2.export.layers import Layers
from mambairv2.export.tokens import pieces
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule


class AttentiveScan:
    """Adds attentive state space modules to a graph."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.g, self.layout = layers, layers.g, layers.layout
        self.labels: list[Value] = []
        """The labels of each module so far, (B·L,) int64."""
        self._piece = pieces(self.layout.window)

    def add(self, x: Value, module: AttentiveStateSpaceModule) -> Value:
        """Mix normalised tokens by the attentive scan: (B·L, E) → (B·L, E)."""
        g, layers, hidden = self.g, self.layers, module.config.hidden_dim
        image = self.layout.to_image(self._in_proj(x, module.in_proj), hidden)
        gate = g.op("Sigmoid", layers.conv(image, module.position))
        u = self.layout.to_tokens(g.op("Mul", image, gate), hidden)
        if not module.has_prompts:
            return layers.linear(layers.norm(self._four_directions(u, module), module.out_norm), module.out_proj)
        order, label = self._route(x, module)
        y, _ = self._scan(u, order, label, module, 0)
        # A row's norm and map do not depend on the order, so the narrower result is what goes back (SGN-fold).
        y = layers.linear(layers.norm(layers.narrow(y), module.out_norm), module.out_proj)
        return g.op("Gather", y, self._inverse(order), axis=0)

    def _in_proj(self, x: Value, layer: nn.Conv2d) -> Value:
        assert layer.bias is not None
        weight = self.g.reshape(self.layers.weight(layer.weight), layer.out_channels, layer.in_channels)
        return self.g.op("Gemm", x, weight, self.layers.weight(layer.bias), transB=1)

    def _route(self, x: Value, module: AttentiveStateSpaceModule) -> tuple[Value, Value]:
        """Return the tokens in the order of the scan, and the label whose prompt each step meets: both (T·B·S,)."""
        g, config = self.g, module.config
        first, _, second = module.route
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        logits = self.layers.linear(g.op("Gelu", self.layers.linear(x, first)), second)
        label = g.op("ArgMax", logits, axis=1, keepdims=0, select_last_index=0)
        self.labels.append(label)
        place = g.count(self.layout.length)
        if config.semantic_neighbouring:
            # Unique keys, so that it does not matter how a runtime sorts equal ones.
            keys = g.op("Mul", g.reshape(label, self.layout.batch, self.layout.length), self.layout.length)
            keys = g.op("Add", keys, place)
            keys, _ = g.ops("TopK", 2, keys, self.layout.length, axis=1, largest=0, sorted=1)
            place = g.op("Mod", keys, self.layout.length)
        order = self._steps(g.op("Add", place, self.layout.first))
        meets_own = config.prompt_order == "sorted" or not config.semantic_neighbouring
        if meets_own:
            return order, g.op("Gather", label, order)
        return order, self._steps(label)

    def _steps(self, tokens: Value) -> Value:
        """Bring what is in the order of the scan, (B·L,), into that of the loop: (T·B·S,)."""
        g = self.g
        steps = g.reshape(tokens, self.layout.batch, -1, self._piece)
        return g.reshape(g.op("Transpose", steps, perm=[2, 0, 1]), -1)

    def _inverse(self, order: Value) -> Value:
        """Return the inverse of a permutation: (n,) → (n,)."""
        g = self.g
        places = g.count(g.op("Shape", order))
        return g.op("ScatterElements", places, order, places, axis=0)

    def _scan(
        self, u: Value, order: Value, label: Value | None, module: AttentiveStateSpaceModule, direction: int
    ) -> tuple[Value, Value]:
        """Scan u (B·L, D) in an order; return y and u in that order, (T·B·S, D) float32."""
        g, layers, config = self.g, self.layers, module.config
        hidden, states, rank = config.hidden_dim, config.d_state, config.dt_rank
        part = slice(direction * hidden, (direction + 1) * hidden)
        u = layers.wide(g.op("Gather", u, order, axis=0))
        into = g.constant(_numbers(module.x_proj_weight[direction]))
        dt, B, C = g.split(g.op("Gemm", u, into, transB=1), [rank, states, states], axis=1)
        step, bias = g.constant(_numbers(module.dt_weight[direction])), g.constant(_numbers(module.dt_bias[direction]))
        prompt = None
        if label is not None:
            pool = (module.pool_left.weight @ module.pool_right.weight).detach()
            prompt = g.op("Gather", g.constant(_numbers(pool)), label, axis=0)
        delta = g.op("Gemm", dt, step, bias, transB=1)
        if prompt is not None and config.prompt_target != "y":
            if config.prompt_target == "C":
                C = g.op("Add", C, prompt)
            elif config.prompt_target == "B":
                B = g.op("Add", B, prompt)
            else:
                delta = g.op("Add", delta, prompt)
        A = g.constant(_numbers(-torch.exp(module.A_log[part]).T)[None])
        y = self._states(u, g.op("Softplus", delta), A, B, C)
        y = g.op("Add", y, g.op("Mul", u, g.constant(_numbers(module.D[part]))))
        return (g.op("Add", y, prompt) if prompt is not None and config.prompt_target == "y" else y), u

    def _states(self, u: Value, delta: Value, A: Value, B: Value, C: Value) -> Value:
        """Return C · h for h = exp(ΔA) h + Δ B u along the steps: (T·B·S, D).

        The first loop takes all pieces side by side and gives the state at the end of each; a short one carries these
        ends from piece to piece; the last loop takes all pieces from where they begin. Only decays in (0, 1] are
        multiplied, so nothing overflows. A: (1, N, D).
        """
        g, (_, states, hidden) = self.g, self.g.constants[A].shape
        driven = g.op("Mul", delta, u)
        total = g.op("ReduceSum", g.reshape(delta, self._piece, -1, 1, hidden), g.whole(0), keepdims=0)
        total = g.op("Exp", g.op("Mul", total, A))
        delta, driven = (g.reshape(x, self._piece, -1, 1, hidden) for x in (delta, driven))
        B, C = g.reshape(B, self._piece, -1, states, 1), g.reshape(C, self._piece, -1, 1, states)

        def advance(body: Graph, given: list[Value]) -> Value:
            h, delta, driven, B = given
            decay = body.op("Exp", body.op("Mul", delta, A))
            return body.op("Add", body.op("Mul", decay, h), body.op("Mul", driven, B))

        def to_the_end(body: Graph, given: list[Value]) -> list[tuple[Value, int]]:
            return [(advance(body, given), FLOAT)]

        def carry(body: Graph, given: list[Value]) -> list[tuple[Value, int]]:
            h, decay, end = given
            after = body.op("Add", body.op("Mul", decay, h), end)
            return [(after, FLOAT), (body.op("Identity", h), FLOAT)]

        def ask(body: Graph, given: list[Value]) -> list[tuple[Value, int]]:
            *given, C = given
            h = advance(body, given)
            return [(h, FLOAT), (body.op("MatMul", C, h), FLOAT)]

        names = [(name, FLOAT) for name in ("h", "delta", "driven", "B", "C")]
        zeros = g.op("ConstantOfShape", g.op("Shape", total))
        (end,) = g.ops(
            "Scan", 1, zeros, delta, driven, B, body=g.body("ends", names[:4], to_the_end), num_scan_inputs=3
        )
        sides = self.layout.batch, -1, states, hidden
        total, end = g.reshape(total, *sides), g.reshape(end, *sides)
        none = g.op("ConstantOfShape", g.join([self.layout.batch, states, hidden]))
        three = [(name, FLOAT) for name in ("h", "decay", "end")]
        _, start = g.ops(
            "Scan",
            2,
            none,
            total,
            end,
            body=g.body("carry", three, carry),
            num_scan_inputs=2,
            scan_input_axes=[1, 1],
            scan_output_axes=[1],
        )
        start = g.reshape(start, -1, states, hidden)
        _, y = g.ops("Scan", 2, start, delta, driven, B, C, body=g.body("steps", names, ask), num_scan_inputs=4)
        return g.reshape(y, -1, hidden)

    def _four_directions(self, u: Value, module: AttentiveStateSpaceModule) -> Value:
        """Sum the scans by row, by column and both reversed, (B·L, D) (ablation)."""
        g, layout = self.g, self.layout
        rows = g.count(layout.length)
        grid = g.reshape(rows, layout.rows, layout.columns)
        columns = g.reshape(g.op("Transpose", grid, perm=[1, 0]), -1)
        last = g.op("Sub", layout.length, g.whole(1))
        total: Value | None = None
        backwards = [g.op("Sub", last, rows), g.op("Gather", columns, g.op("Sub", last, rows))]
        for i, places in enumerate((rows, columns, *backwards)):
            order = self._steps(g.op("Add", places, layout.first))
            y, _ = self._scan(u, order, None, module, i)
            y = g.op("Gather", y, self._inverse(order), axis=0)
            total = y if total is None else g.op("Add", total, y)
        assert total is not None
        return self.layers.narrow(total)


def _numbers(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a tensor as float32 numbers."""
    return tensor.detach().cpu().float().numpy()
