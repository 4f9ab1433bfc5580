"""The network against the published one, number by number, in float64.

`pytest tests/network/test_parity.py -rP` prints the largest difference of each case.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.ops.library import loader
from mambairv2.weights.load import load_model
from mambairv2.weights.save import published_state
from parity_cases import ARGMAX, CASES, GRADIENTS, Case, config_of, layout_digest, load_case, published_shapes

NATIVE = pytest.param(
    "native", marks=pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
)
# Backends of the scan, of attention and of the dense layers, by the name of the scan's.
BACKENDS = {
    "auto": ("auto", "auto", "auto"),
    "reference": ("reference", "reference", "torch"),
    "chunked": ("chunked", "sdpa", "torch"),
    "native": ("native", "native", "native"),
}


def model_of(case: Case, tmp_path: Path) -> MambaIRv2:
    """Save the case's weights as a .pth file and load them as a user would."""
    torch.save({"params": case.state}, tmp_path / "case.pth")
    model = load_model(tmp_path / "case.pth", dtype=torch.float64)
    (tmp_path / "case.pth").unlink()  # the base model in float64 takes 180 MB
    return model


def check_output(output: torch.Tensor, expected: torch.Tensor) -> None:
    assert output.shape == expected.shape
    difference = (output - expected).abs().max().item()
    print(f"largest difference of the output: {difference:.1e}")
    assert difference <= 1e-8


def check_argmax(name: str, tmp_path: Path, scan: str) -> None:
    case = load_case(name)
    model = model_of(case, tmp_path)
    model.set_backend(*BACKENDS[scan])
    with torch.inference_mode():
        check_output(model(case.arrays["input"]), case.arrays["output"])


@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_are_the_published_ones(name):
    assert layout_digest(published_shapes(config_of(name))) == CASES[name]["layout"]


@pytest.mark.parametrize("name", ARGMAX)
def test_argmax_case(tmp_path, name):
    check_argmax(name, tmp_path, "auto")


@pytest.mark.parametrize("scan", ["reference", "chunked", NATIVE])
def test_argmax_case_by_each_backend(tmp_path, scan):
    check_argmax("light_x2", tmp_path, scan)


@pytest.mark.parametrize("scan", ["chunked", NATIVE])
def test_sampled_case(tmp_path, scan):
    case = load_case("light_x2_gumbel")
    model = model_of(case, tmp_path)
    model.set_backend(*BACKENDS[scan])
    generator = torch.Generator().manual_seed(case.seed)
    with torch.inference_mode():
        check_output(model(case.arrays["input"], generator), case.arrays["output"])


@pytest.mark.parametrize("scan", ["chunked", NATIVE])
def test_gradients(tmp_path, scan):
    case = load_case("light_x2_grad")
    model = model_of(case, tmp_path)
    model.train().set_backend(*BACKENDS[scan])
    torch.manual_seed(case.seed)
    output = model(case.arrays["input"])
    loss = (output - case.arrays["target"]).abs().mean()
    loss.backward()
    check_output(output, case.arrays["output"])
    assert loss.item() == pytest.approx(CASES["light_x2_grad"]["loss"], rel=1e-10)
    for parameter in model.parameters():
        parameter.data = parameter.grad
    gradients, largest = published_state(model), 0.0
    assert gradients.keys() == GRADIENTS.keys()
    for name, (norm, total) in GRADIENTS.items():
        grad, unit = gradients[name], max(norm, 1e-6)
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, abs=1e-12), name
        assert abs(grad.sum().item() - total) <= 1e-6 * unit * grad.numel() ** 0.5, name
        largest = max(largest, abs(grad.norm().item() - norm) / unit)
    print(f"largest difference of a gradient's norm, relative: {largest:.1e}")


PARAMETERS = {
    ("light", 2, 3): 774_092,
    ("light", 3, 3): 780_587,
    ("light", 4, 3): 789_680,
    ("small", 2, 3): 9_621_935,
    ("small", 3, 3): 9_806_575,
    ("small", 4, 3): 9_769_647,
    ("base", 2, 3): 22_903_001,
    ("base", 3, 3): 23_087_641,
    ("base", 4, 3): 23_050_713,
    ("large", 2, 3): 34_090_523,
    ("large", 3, 3): 34_275_163,
    ("large", 4, 3): 34_238_235,
    ("base", 1, 3): 22_657_971,
    ("base", 1, 1): 22_651_705,
}


@pytest.mark.parametrize(("name", "upscale", "channels"), PARAMETERS)
def test_parameter_counts(name, upscale, channels):
    with torch.device("meta"):
        model = MambaIRv2.from_config(name, upscale=upscale, in_channels=channels)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name, upscale, channels]
