"""`analyze complexity`, as a user runs it."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mambairv2.cli.main import app
from small_weights import save_tiny


def run(*arguments):
    return CliRunner().invoke(app, ["analyze", "complexity", *map(str, arguments)])


def test_the_networks_of_the_paper_stand_beside_their_figures(tmp_path):
    result = run("-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "MambaIRv2-light ×2: 774,092 parameters, 268.6 G MACs, 286.3 G by the published rules" in result.output
    figures = json.loads((tmp_path / "complexity.json").read_text())
    assert len(figures["networks"]) == 12
    light = figures["networks"][0]
    assert light["published figures"] == {"parameters, thousands": 774, "MACs, 10⁹": 286.3}
    assert sum(part["macs"] for part in light["by module"].values()) == light["macs"]
    assert {"name": "SwinIR-light ×4", "parameters, thousands": 930, "MACs, 10⁹": 63.6} in figures[
        "other networks, as published"
    ]
    arrays = np.load(tmp_path / "complexity.npz")
    assert arrays["MambaIRv2-light ×2: macs"].sum() == light["macs"]


def test_weights_are_counted_alone(tmp_path):
    weights = save_tiny(tmp_path / "tiny.safetensors")
    result = run("--weights", weights, "--size", "64x32", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out" / "complexity.json").read_text())
    assert [network["name"] for network in figures["networks"]] == [str(weights)]
    assert figures["networks"][0]["input"] == [32, 16]
    assert figures["other networks, as published"] == []


def test_there_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'mambairv2[plots]'")
    assert run("-o", tmp_path).exit_code == 0
    assert (tmp_path / "complexity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("size", ["1280", "0x720", "axb", "-5x7"])
def test_a_wrong_size_is_told_in_one_line(tmp_path, size):
    result = run(f"--size={size}", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_weights_are_told_in_one_line(tmp_path):
    result = run("--weights", tmp_path / "none.safetensors", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "no such weights" in result.output


def test_without_matplotlib_there_is_no_picture_and_a_line_says_so(tmp_path, monkeypatch):
    for name in [*sys.modules]:
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # an import of it fails
    result = run("--size", "64x64", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "no picture: matplotlib is not installed" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["complexity.json", "complexity.npz"]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    result = run("-o", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert "error: " in result.output
    assert str(tmp_path / "file") in result.output
