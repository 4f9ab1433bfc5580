"""Where ONNX Runtime and PyTorch choose different prompts, and whether a router in float64 would agree (docs/onnx.md).

python benchmarks/onnx_ties.py photo-x2 --height 200 --width 301
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import pyvips
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional as F

from mambairv2 import MambaIRv2, load_model
from mambairv2.export.attentive_scan import AttentiveScan
from mambairv2.export.network import graph_of
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "coffee.png"


def by_onnx(model: MambaIRv2, image: Tensor) -> tuple[np.ndarray, list[Tensor], list[Tensor]]:
    """Run a network by ONNX Runtime: the result, and of each block the labels (B·L,) and the tokens (B·L, E)."""
    asked, route = [], AttentiveScan._route

    def noting(self, x, module):
        asked.append(x)
        return route(self, x, module)

    AttentiveScan._route = noting
    try:
        proto = graph_of(model, labels=True)
    finally:
        AttentiveScan._route = route
    for i, x in enumerate(asked):
        proto.graph.node.append(helper.make_node("Identity", [x], [f"tokens_{i}"]))
        proto.graph.output.append(helper.make_tensor_value_info(f"tokens_{i}", TensorProto.FLOAT, ["n", "e"]))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found, *others = session.run(None, {"image": image.numpy()})
    tensors = [torch.from_numpy(other) for other in others]
    return found, tensors[: len(asked)], tensors[len(asked) :]


def by_torch(model: MambaIRv2, image: Tensor, labels: list[Tensor]) -> tuple[np.ndarray, list[Tensor]]:
    """Run a network by PyTorch with given labels: the result, and the tokens of each block (B·L, E)."""
    tokens, modules = [], routers(model)
    for module, label in zip(modules, labels, strict=True):

        def route(x, _generator, module=module, label=label):
            tokens.append(x.flatten(0, 1))
            return module.prompts_of(label.view(x.shape[:2]))

        module._route = route
        module._route_fused = lambda x, norm, generator, route=route: route(norm(x), generator)
    try:
        with torch.inference_mode():
            return model(image).numpy(), tokens
    finally:
        for module in modules:
            del module._route, module._route_fused


def routers(model: MambaIRv2) -> list[AttentiveStateSpaceModule]:
    return [module for module in model.modules() if isinstance(module, AttentiveStateSpaceModule)]


@torch.inference_mode()
def chosen(module: AttentiveStateSpaceModule, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the likeliest prompts of tokens, with the logits computed in a dtype."""
    first, _, second = module.route
    hidden = F.gelu(F.linear(tokens.to(dtype), first.weight.to(dtype), first.bias.to(dtype)))
    return F.linear(hidden, second.weight.to(dtype), second.bias.to(dtype)).argmax(-1)


def compare(model: MambaIRv2, image: Tensor) -> dict[str, float]:
    """Return counts of prompts that differ, and the largest differences of tokens and results."""
    found, labels, theirs = by_onnx(model, image)
    with torch.inference_mode():
        own = model(image).numpy()
    forced, ours = by_torch(model, image, labels)
    counts = {"prompts": 0, "differ": 0, "differ in float64": 0, "float32 from float64, same tokens": 0}
    apart = 0.0
    for module, label, mine, other in zip(routers(model), labels, ours, theirs, strict=True):
        exact = chosen(module, mine, torch.float64)
        counts["prompts"] += len(label)
        counts["differ"] += int((chosen(module, mine, torch.float32) != label).sum())
        counts["differ in float64"] += int((exact != chosen(module, other, torch.float64)).sum())
        counts["float32 from float64, same tokens"] += int((exact != chosen(module, mine, torch.float32)).sum())
        apart = max(apart, float((mine - other).abs().max() / mine.abs().max()))
    results = {
        "tokens": apart,
        "results": np.abs(found - own).max(),
        "with equal prompts": np.abs(found - forced).max(),
    }
    return counts | {name: float(value) for name, value in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights")
    parser.add_argument("--height", type=int, default=200)
    parser.add_argument("--width", type=int, default=301)
    options = parser.parse_args()
    photograph = pyvips.Image.new_from_file(str(PHOTOGRAPH)).crop(150, 100, options.width, options.height)
    image = torch.from_numpy(photograph.numpy()[..., :3] / np.float32(255)).permute(2, 0, 1)[None].contiguous()
    for name, value in compare(load_model(options.weights).eval(), image).items():
        print(f"{name}: {value:g}")


if __name__ == "__main__":
    main()
