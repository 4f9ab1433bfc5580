"""The protocol for photographs: the same damage on every machine, three strengths, and networks in turn."""

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.evaluation.evaluate import evaluate, evaluate_set, in_turn
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Protocol, cases
from mambairv2.images.degradation.resizing import resample
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.tasks import TASKS
from mambairv2.weights.save import save_model

TINY = MambaIRv2Config(embed_dim=12, d_state=2, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=3, window_size=8)
LEVELS = TASKS["photo"].levels


@pytest.fixture
def folder(tmp_path):
    """One picture of waves and edges."""
    y, x = np.mgrid[:96, :120][..., None]
    waves = 128 + 60 * np.sin(x / np.array([3, 5, 9])) * np.cos(y / 7) + 50 * ((x + 2 * y) % 40 < 12)
    (tmp_path / "set").mkdir()
    pyvips.Image.new_from_array(waves.clip(0, 255).astype(np.uint8)).write_to_file(str(tmp_path / "set" / "waves.png"))
    return tmp_path / "set"


# PSNR of Lanczos, or of the input at ×1; a changed draw, kernel or encoder shows here
RECORDED = {2: [30.93, 30.22, 28.37], 4: [28.7, 27.45, 25.3], 1: [35.4, 32.99, 31.11]}


@pytest.mark.parametrize("scale", RECORDED)
def test_the_damage_is_as_recorded_and_grows_with_the_strength(folder, scale):
    found = [evaluate_set(None, folder, Protocol("photo", scale, level))[0].psnr for level in LEVELS]
    assert found == pytest.approx(RECORDED[scale], abs=0.02)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_baseline_is_lanczos_of_a_file_of_8_bits(folder, scale):
    (case,) = cases(folder, Protocol("photo", scale, "middle"))
    pixels = case.input * 255
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-4)
    size = case.target.shape[:2]
    assert case.input.shape[:2] == (size[0] // scale, size[1] // scale)
    enlarged = (resample(case.input, size, "lanczos") * 255).round().clip(0, 255)
    assert np.abs(enlarged - case.baseline).max() <= 1


@pytest.mark.parametrize(("scale", "border"), [(1, 0), (2, 2), (4, 4)])
def test_luma_is_compared_without_the_border(scale, border):
    protocol = Protocol("photo", scale, "weak")
    assert (protocol.compared, protocol.border) == ("y", border)
    assert str(protocol) == ("photo weak" if scale == 1 else f"photo x{scale} weak")


def test_networks_in_turn_are_two_restorations(folder, tmp_path):
    torch.manual_seed(0)
    second = MambaIRv2(TINY).eval()
    first = MambaIRv2(MambaIRv2Config.from_dict({**TINY.to_dict(), "upscale": 1, "upsampler": ""})).eval()
    plan = Plan(folder, "photo", 2, levels=("middle",))
    (result,) = evaluate(second, plan, first=first)

    def by_hand(image):
        pixels = (first(image[None])[0].clamp(0, 1) * 255).round() / 255
        return second(pixels[None])[0]

    with torch.no_grad():
        (expected,) = evaluate_set(by_hand, folder, Protocol("photo", 2, "middle"))
    assert result.scores[0].psnr == pytest.approx(expected.psnr, abs=1e-3)
    rounded = in_turn(lambda image: image + 0.001, lambda image: image)(torch.zeros(1, 2, 2))
    assert rounded.max() == 0

    save_model(second, tmp_path / "second.safetensors", {"task": "photo"})
    save_model(first, tmp_path / "first.safetensors", {"task": "jpeg"})
    data = ["evaluate", "--data", str(folder), "--task", "photo", "--level", "middle"]
    weights = ["--weights", str(tmp_path / "second.safetensors"), "--first", str(tmp_path / "first.safetensors")]
    shown = CliRunner().invoke(app, [*data, *weights])
    assert shown.exit_code == 0, shown.output
    assert f"{result.scores[0].psnr:.2f}" in shown.stdout
    assert "Lanczos" in shown.stdout
    for wrong in (["--first", str(tmp_path / "first.safetensors")], [*weights[:2], "--first", weights[1]]):
        refused = CliRunner().invoke(app, [*data, *wrong])
        assert refused.exit_code == 1
        assert "needs --weights to go on with" in refused.stderr
