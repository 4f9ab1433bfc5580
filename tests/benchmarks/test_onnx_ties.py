"""The study of near ties sees a prompt that was moved, and none where nothing differs."""

import pytest
import torch

from mambairv2.network.model import MambaIRv2
from small_weights import SMALL

WHY = "is not installed: pip install -c constraints.txt -e '.[onnx]'"
for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} {WHY}")
import onnx_ties  # noqa: E402


def test_runtimes_agree_on_a_small_network():
    torch.manual_seed(0)
    found = onnx_ties.compare(MambaIRv2(SMALL).eval(), torch.rand(1, 3, 20, 30))
    assert found["prompts"] == 3 * 32 * 32
    assert found["differ in float64"] <= found["differ"] + 2
    assert found["with equal prompts"] < 1e-5
    assert found["tokens"] < 1e-4


def test_tokens_and_labels_are_those_of_the_network():
    torch.manual_seed(0)
    model, image = MambaIRv2(SMALL).eval(), torch.rand(1, 3, 20, 30)
    _, labels, tokens = onnx_ties.by_onnx(model, image)
    moved = [label.clone() for label in labels]
    moved[0][5] = (moved[0][5] + 1) % SMALL.num_tokens
    same, ours = onnx_ties.by_torch(model, image, labels)
    other, _ = onnx_ties.by_torch(model, image, moved)
    assert (same != other).any()
    for module, label, mine in zip(onnx_ties.routers(model), labels, ours, strict=True):
        assert (onnx_ties.chosen(module, mine, torch.float64) != label).float().mean() < 0.01
    assert len(tokens) == len(ours) == 3
