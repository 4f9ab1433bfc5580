"""Layers of the network as ONNX operators: linear maps, norms, convolutions, feed-forwards, window attention.

Shape legend: B batch, L tokens, E channels, D hidden channels, M window side, n = M², h heads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mambairv2.export.graph import BOOL, FLOAT, FLOAT16, INT64, Graph, Value
from mambairv2.export.tokens import Layout, relative_index
from mambairv2.network.attention import WindowAttention
from mambairv2.network.feed_forward import FeedForward


class Layers:
    """Adds layers to a graph, in the precision that is asked for."""

    def __init__(self, graph: Graph, layout: Layout, names: dict[int, str], half: bool) -> None:
        self.g, self.layout, self._names, self.half = graph, layout, names, half
        self.type = FLOAT16 if half else FLOAT

    def weight(self, parameter: Tensor) -> Value:
        """Return a parameter, under its own name if it has one."""
        values = parameter.detach().cpu().float().numpy()
        return self.g.constant(values.astype(np.float16) if self.half else values, self._names.get(id(parameter)))

    def number(self, value: npt.ArrayLike) -> Value:
        """Return a number, or several, in the precision of the graph."""
        return self.g.constant(np.array(value, dtype=np.float16 if self.half else np.float32))

    def wide(self, x: Value) -> Value:
        """Return x in float32."""
        return self.g.op("Cast", x, to=FLOAT) if self.half else x

    def narrow(self, x: Value) -> Value:
        """Return a float32 x in the precision of the graph."""
        return self.g.op("Cast", x, to=FLOAT16) if self.half else x

    def linear(self, x: Value, layer: nn.Linear) -> Value:
        """(n, in) → (n, out)."""
        return self.g.op("Gemm", x, self.weight(layer.weight), self.weight(layer.bias), transB=1)

    def norm(self, x: Value, norm: nn.LayerNorm) -> Value:
        """Layer norm of each row of (n, E)."""
        scale, bias = self.weight(norm.weight), self.weight(norm.bias)
        return self.g.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=norm.eps)

    def conv(self, image: Value, layer: nn.Conv2d) -> Value:
        """(B, C, H, W) → (B, C', H, W)."""
        weight = self.weight(layer.weight)
        assert layer.bias is not None
        pad = [int(side) for side in layer.padding for _ in range(2)]
        pads = [pad[0], pad[2], pad[1], pad[3]]
        shape = list(layer.kernel_size)
        return self.g.op(
            "Conv", image, weight, self.weight(layer.bias), kernel_shape=shape, pads=pads, group=layer.groups
        )

    def residual_conv(self, image: Value, module: nn.Module) -> Value:
        """Add the convolution(s) that end a group and the body."""
        for layer in module if isinstance(module, nn.Sequential) else [module]:
            if isinstance(layer, nn.LeakyReLU):
                image = self.g.op("LeakyRelu", image, alpha=layer.negative_slope)
            else:
                assert isinstance(layer, nn.Conv2d)
                image = self.conv(image, layer)
        return image

    def feed_forward(self, x: Value, ffn: FeedForward) -> Value:
        """Feed-forward with a depthwise convolution inside: (B·L, E) → (B·L, E)."""
        g, layout, inner = self.g, self.layout, ffn.conv.in_channels
        t = g.op("Gelu", self.linear(x, ffn.fc1))
        if ffn.gated:
            u, v = g.split(t, [inner, inner], axis=1)
            v = layout.to_tokens(self.conv(layout.to_image(self.norm(v, ffn.norm), inner), ffn.conv), inner)
            t = g.op("Mul", u, v)
        else:
            v = g.op("Gelu", self.conv(layout.to_image(t, inner), ffn.conv))
            t = g.op("Add", t, layout.to_tokens(v, inner))
        return self.linear(t, ffn.fc2)

    def attention(self, x: Value, attention: WindowAttention) -> Value:
        """Window attention: (B·L, E) → (B·L, E).

        A loop takes one window after another. So the scores of one window are in memory at a time, which stay in the
        processor's cache: half the time of all windows at once, and little memory for large images.
        """
        g, window, shift = self.g, attention.window, attention.shift
        heads, channels = attention.bias_table.shape[1], attention.proj.in_features
        order, back = self.layout.windows(shift)
        qkv = g.op("Gather", self.linear(x, attention.qkv), order, axis=0)
        qkv = g.reshape(qkv, -1, window**2, 3 * channels)
        index = g.constant(relative_index(window).astype(np.int32))
        table = attention.bias_table.detach().cpu().float().numpy()
        if self.half:
            table = table.astype(np.float16)
        bias = [g.op("Gather", g.constant(table[:, i]), index) for i in range(heads)]
        regions = self._mask(shift) if shift else None
        scale = self.number((channels // heads) ** -0.5)

        def attend(body: Graph, given: list[Value]) -> list[tuple[Value, int]]:
            i, going = given
            parts = body.split(body.op("Gather", qkv, i, axis=0), [channels // heads] * (3 * heads), axis=1)
            q, k, v = (parts[j * heads : (j + 1) * heads] for j in range(3))
            q = [body.op("Mul", head, scale) for head in q]
            if regions is not None:
                count = body.op("Squeeze", body.op("Shape", regions[0], start=0, end=1))
                mine, others = (body.op("Gather", r, body.op("Mod", i, count), axis=0) for r in regions)
                q = [body.op("Concat", head, mine, axis=1) for head in q]
                k = [body.op("Concat", head, others, axis=1) for head in k]
            scores = [body.op("Gemm", *three, transB=1) for three in zip(q, k, bias, strict=True)]
            shares = [body.op("Softmax", s, axis=-1) for s in scores]
            mixed = [body.op("MatMul", *pair) for pair in zip(shares, v, strict=True)]
            return [(body.op("Identity", going), BOOL), (body.op("Concat", *mixed, axis=1), self.type)]

        body = g.body("window", [("i", INT64), ("going", BOOL)], attend, scalars=True)
        count = g.op("Squeeze", g.op("Shape", qkv, start=0, end=1))
        y = g.reshape(g.op("Loop", count, "", body=body), -1, channels)
        return self.linear(g.op("Gather", y, back, axis=0), attention.proj)

    def _mask(self, shift: int) -> tuple[Value, Value]:
        """Return four more channels for queries and for keys: (L/M², M², 4) each.

        In the product of a query and a key they add 0 where both positions are in one region, else -100.
        """
        g = self.g
        regions = self.narrow(self.layout.regions(shift))
        return regions, g.op("Mul", g.op("Sub", regions, self.number(1)), self.number(100))
