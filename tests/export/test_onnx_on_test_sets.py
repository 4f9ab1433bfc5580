"""The figures of a network in ONNX Runtime and OpenVINO are those in PyTorch, on Set5.

The set is not in the repository, so this file is skipped as a whole where it is not at hand.
"""

import numpy as np
import pytest
import torch

from mambairv2 import Restorer
from mambairv2.evaluation.evaluate import evaluate_set, mean
from mambairv2.evaluation.protocol import Protocol
from shared_data import CHECKPOINT, TEST_SETS

for needed in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -c constraints.txt -e '.[dev]'")
if not TEST_SETS.is_dir():
    pytest.skip(
        f"no test images at {TEST_SETS}; set MAMBAIRV2_SHARED to the folder with data/test", allow_module_level=True
    )

from mambairv2.export import to_onnx  # noqa: E402


def in_openvino(path):
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda image: torch.from_numpy(request.infer({"image": image[None].numpy()})["restored"][0].copy())


@pytest.mark.parametrize(("weights", "scale"), [("sr-x2", 2), (CHECKPOINT, 4)], ids=["sr-x2", "a published x4"])
def test_set5(weights, scale, tmp_path):
    to_onnx(weights, tmp_path / "net.onnx")
    ways = {
        "torch": Restorer(weights, "cpu", margin=False).infer,
        "ort": Restorer(tmp_path / "net.onnx", margin=False).infer,
    }
    ways["openvino"] = in_openvino(tmp_path / "net.onnx")
    figures = {}
    for name, way in ways.items():
        scores = evaluate_set(way, TEST_SETS / "Set5", Protocol("sr", scale))
        figures[name] = np.array([s.psnr for s in [*scores, mean(scores)]])
        print(name, figures[name].round(4))
    for name in ("ort", "openvino"):
        assert np.abs(figures[name] - figures["torch"]).max() < 0.005
