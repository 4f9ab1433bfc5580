"""The network against the published one, number by number, in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mambairv2.network import attentive_scan
from mambairv2.network.model import MambaIRv2
from mambairv2.ops.library import loader
from mambairv2.weights.load import load_model
from mambairv2.weights.save import published_state
from parity_cases import ARGMAX, device_order, image_order, load_case, same_sort

NATIVE = pytest.param(
    "native", marks=pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
)
PLAIN_ATTENTION = {"auto": "auto", "reference": "reference", "chunked": "sdpa", "native": "native"}


@pytest.fixture(autouse=True)
def tie_order(monkeypatch):
    """The cases were made with a sort that leaves tied labels in the CPU's order; compute them with the same."""
    if not same_sort():
        pytest.skip("this CPU's unstable sort leaves ties in another order than the one that made the cases")
    monkeypatch.setattr(attentive_scan, "neighbour_order", device_order)


def test_tie_orders_sort_the_same_labels():
    label = torch.randint(0, 64, (2, 1024))
    assert torch.equal(label.gather(1, device_order(label)), label.gather(1, image_order(label)))


def model_of(folder: Path, name: str, tmp_path: Path):
    """Save the case's weights as a .pth file and load them as a user would."""
    case, arrays, state = load_case(folder, name)
    torch.save({"params": state}, tmp_path / "case.pth")
    return case, arrays, load_model(tmp_path / "case.pth", dtype=torch.float64)


def check_argmax(folder, name, tmp_path, scan):
    _, arrays, model = model_of(folder / "parity", name, tmp_path)
    model.set_backend(scan, PLAIN_ATTENTION[scan])
    with torch.inference_mode():
        output = model(arrays["input"])
    assert output.shape == arrays["output"].shape
    assert (output - arrays["output"]).abs().max() <= 1e-8


@pytest.mark.parametrize("name", ARGMAX)
def test_argmax_case(shared, tmp_path, name):
    check_argmax(shared, name, tmp_path, "auto")


@pytest.mark.parametrize("scan", ["reference", "chunked", NATIVE])
def test_argmax_case_by_each_backend(shared, tmp_path, scan):
    check_argmax(shared, "light_x2", tmp_path, scan)


@pytest.mark.parametrize("scan", ["chunked", NATIVE])
def test_sampled_case(shared, tmp_path, scan):
    case, arrays, model = model_of(shared / "parity", "light_x2_gumbel", tmp_path)
    model.set_backend(scan)
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.inference_mode():
        output = model(arrays["input"], generator)
    assert (output - arrays["output"]).abs().max() <= 1e-8


@pytest.mark.parametrize("scan", ["chunked", NATIVE])
def test_gradients(shared, tmp_path, scan):
    case, arrays, model = model_of(shared / "parity", "light_x2_grad", tmp_path)
    model.train().set_backend(scan, PLAIN_ATTENTION[scan])
    torch.manual_seed(case["seed"])
    output = model(arrays["input"])
    loss = (output - arrays["target"]).abs().mean()
    loss.backward()
    assert (output - arrays["output"]).abs().max() <= 1e-8
    assert loss.item() == pytest.approx(case["loss"], rel=1e-10)
    for parameter in model.parameters():
        parameter.data = parameter.grad
    for name, grad in published_state(model).items():
        norm = case["grad_norms"][name]
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, abs=1e-12), name
        assert abs(grad.sum().item() - case["grad_sums"][name]) <= 1e-6 * max(norm, 1e-6) * grad.numel() ** 0.5, name


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
