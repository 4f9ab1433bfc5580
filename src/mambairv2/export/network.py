"""The whole network as an ONNX graph, box by box as in `network/model.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from mambairv2.export.attentive_scan import AttentiveScan
from mambairv2.export.graph import FLOAT, INT64, Graph, Value
from mambairv2.export.layers import Layers
from mambairv2.export.tokens import Layout
from mambairv2.network.model import RGB_MEAN, AttentiveStateSpaceBlock, AttentiveStateSpaceGroup, MambaIRv2
from mambairv2.network.reconstruction import Correction, NearestConv, PixelShuffle, PixelShuffleDirect

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Version of the standard operators; 20 is the first with GELU."""
IR_VERSION = 9
"""Version of the file format that came with opset 20."""
INPUT, OUTPUT = "image", "restored"


def graph_of(model: MambaIRv2, *, half: bool = False, labels: bool = False) -> onnx.ModelProto:
    """Return a network as an ONNX model: `image` (batch, C, height, width) to `restored`, float32 both.

    half: compute in float16 but for the scan. labels: give the prompts of the tokens too, a result `labels_i` (B·L,)
    int64 for each block, to compare them.
    """
    from onnx import helper, numpy_helper

    config, g = model.config, Graph()
    layout = Layout(g, INPUT, config.window_size)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    layers = Layers(g, layout, names, half)
    scans = AttentiveScan(layers)
    g.named_op("Identity", OUTPUT, _network(model, layers, scans))
    results = [helper.make_tensor_value_info(OUTPUT, FLOAT, ["batch", config.in_channels, "out_height", "out_width"])]
    if labels:
        for i, label in enumerate(scans.labels):
            g.named_op("Identity", f"labels_{i}", label)
            results.append(helper.make_tensor_value_info(f"labels_{i}", INT64, ["tokens"]))
    image = helper.make_tensor_value_info(INPUT, FLOAT, ["batch", config.in_channels, "height", "width"])
    constants = [numpy_helper.from_array(array, name) for name, array in g.constants.items()]
    graph = helper.make_graph(g.nodes, "mambairv2", [image], results, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mambairv2")


def _network(model: MambaIRv2, layers: Layers, scans: AttentiveScan) -> Value:
    g, layout, config = layers.g, layers.layout, model.config
    dim, scale = config.embed_dim, config.upscale
    mean = RGB_MEAN if config.in_channels == 3 else (0.0,)
    offset = layers.number(np.reshape(mean, (-1, 1, 1)))
    x = g.op("Sub", layout.mirror_pad(layers.narrow(INPUT)), offset)
    x = g.op("Mul", x, layers.number(config.img_range))
    features = layers.conv(x, model.conv_first)
    y = layers.norm(layout.to_tokens(features, dim), model.norm_first)
    for i, group in enumerate(model.groups):
        assert isinstance(group, AttentiveStateSpaceGroup)
        with g.scope(f"groups.{i}"):
            y = _group(y, group, dim, layers, scans)
    y = layout.to_image(layers.norm(y, model.norm), dim)
    y = g.op("Add", layers.residual_conv(y, model.conv_after_body), features)
    y = _head(y, model.head, layers)
    if scale == 1:
        y = g.op("Add", y, x)
    y = g.op("Add", g.op("Div", y, layers.number(config.img_range)), offset)
    ends = g.op("Concat", *(g.op("Mul", side, g.whole(scale)) for side in (layout.height, layout.width)), axis=0)
    return layers.wide(g.op("Slice", y, g.whole(0, 0), ends, g.whole(2, 3)))


def _group(x: Value, group: AttentiveStateSpaceGroup, dim: int, layers: Layers, scans: AttentiveScan) -> Value:
    """ASSG: (B·L, E) → (B·L, E)."""
    g, layout, y = layers.g, layers.layout, x
    for i, block in enumerate(group.layers):
        assert isinstance(block, AttentiveStateSpaceBlock)
        with g.scope(f"layers.{i}"):
            y = _block(y, block, layers, scans)
    return g.op("Add", layout.to_tokens(layers.residual_conv(layout.to_image(y, dim), group.conv), dim), x)


def _block(x: Value, block: AttentiveStateSpaceBlock, layers: Layers, scans: AttentiveScan) -> Value:
    """ASSB: (B·L, E) → (B·L, E)."""
    g = layers.g
    with g.scope("attention"):
        a = g.op("Add", x, layers.attention(layers.norm(x, block.norm1), block.attention))
    with g.scope("ffn1"):
        a = g.op("Add", a, layers.feed_forward(layers.norm(a, block.norm2), block.ffn1))
    x1 = s = g.op("Add", a, g.op("Mul", x, layers.weight(block.scale1)))
    if block.has_scan:
        with g.scope("attentive_scan"):
            s = g.op("Add", x1, scans.add(layers.norm(x1, block.norm3), block.attentive_scan))
    with g.scope("ffn2"):
        s = g.op("Add", s, layers.feed_forward(layers.norm(s, block.norm4), block.ffn2))
    return g.op("Add", s, g.op("Mul", x1, layers.weight(block.scale2)))


def _head(x: Value, head: nn.Module, layers: Layers) -> Value:
    """Reconstruction: (B, E, H, W) → (B, C, sH, sW)."""
    g = layers.g

    def shuffle(x: Value, factor: int) -> Value:
        return g.op("DepthToSpace", x, blocksize=factor, mode="CRD")

    def leaky(x: Value, slope: float) -> Value:
        return g.op("LeakyRelu", x, alpha=slope)

    if isinstance(head, PixelShuffleDirect):
        return shuffle(layers.conv(x, head.conv), head.scale)
    if isinstance(head, Correction):
        return layers.conv(x, head.conv_last)
    if isinstance(head, PixelShuffle):
        x = leaky(layers.conv(x, head.conv_before), 0.01)
        for conv, factor in zip(head.convs, head.factors, strict=True):
            assert isinstance(conv, nn.Conv2d)
            x = shuffle(layers.conv(x, conv), factor)
        return layers.conv(x, head.conv_last)
    assert isinstance(head, NearestConv)
    x = leaky(layers.conv(x, head.conv_before), 0.01)
    for conv in (head.conv_up1, head.conv_up2):
        twice = g.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        x = g.op(
            "Resize", x, "", twice, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
        )
        x = leaky(layers.conv(x, conv), 0.2)
    return layers.conv(leaky(layers.conv(x, head.conv_hr), 0.2), head.conv_last)
