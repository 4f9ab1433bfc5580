"""`analyze scan` and `analyze erf`, as a user runs them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mambairv2.cli.main import app
from small_weights import save_tiny
from stand_in import picture


def run(*arguments):
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    save_tiny(tmp_path / "tiny.safetensors", window_size=8)
    save_tiny(tmp_path / "plain.safetensors", attentive_scan=False)
    save_tiny(tmp_path / "four.safetensors", scan_directions=4, window_size=8)
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(((36, 44), (30, 44), (40, 40))):
        picture(*size, 3).write_to_file(str(tmp_path / "photos" / f"{number}.png"))
    return tmp_path


def test_the_scan_is_written(folder):
    photo = folder / "photos" / "0.png"
    for weights in ("tiny", "four"):
        out = folder / weights
        result = run("scan", photo, "--weights", folder / f"{weights}.safetensors", "--side", 30, "-o", out)
        assert result.exit_code == 0, result.output
        assert "layer 0.0: directions " in result.output
        figures = json.loads((out / "scan.json").read_text())
        assert figures["size"] == [24, 24]
        assert np.load(out / "scan.npz")["memory"].shape == (1, 2, 4, 10)


def test_the_receptive_field_is_written(folder):
    weights = ("--weights", folder / "tiny.safetensors")
    result = run("erf", folder / "photos", *weights, "--side", 32, "--count", 2, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    figures = json.loads((folder / "out" / "erf.json").read_text())
    assert figures["images"] == 2  # the second is too small, the third is taken
    assert list(figures["networks"]) == ["the network", "attention only", "causal, no prompts"]
    assert figures["scans alone"][0]["later_in_sequence"] == 0
    assert np.load(folder / "out" / "erf.npz")["the network"].shape == (17, 17)


def test_there_are_pictures(folder):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'mambairv2[plots]'")
    weights = ("--weights", folder / "tiny.safetensors", "-o", folder / "out")
    assert run("scan", folder / "photos" / "0.png", "--side", 32, *weights).exit_code == 0
    assert run("erf", folder / "photos", "--side", 32, "--count", 1, *weights).exit_code == 0
    for name in ("scan", "erf"):
        assert (folder / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scan", "photos/0.png", "--weights", "plain.safetensors"), "has no attentive scan"),
        (("scan", "none.png", "--weights", "tiny.safetensors"), "none.png"),
        (("erf", "photos", "--weights", "four.safetensors", "--side", "32", "--count", "1"), "four directions"),
        (("erf", "photos", "--weights", "tiny.safetensors", "--side", "32"), "2 images are at least 32×32"),
        (("erf", "nowhere", "--weights", "tiny.safetensors"), "no folder nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run(*arguments, "-o", "out")
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (folder / "out").exists()
