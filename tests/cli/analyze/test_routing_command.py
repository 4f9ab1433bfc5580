"""`analyze routing`, as a user runs it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mambairv2.cli.main import app
from small_weights import save_tiny
from stand_in import picture


def run(*arguments):
    return CliRunner().invoke(app, ["analyze", "routing", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    save_tiny(tmp_path / "tiny.safetensors")
    save_tiny(tmp_path / "plain.safetensors", attentive_scan=False)
    picture(36, 44, 3).write_to_file(str(tmp_path / "photo.png"))
    (tmp_path / "test" / "Set5").mkdir(parents=True)
    picture(40, 44, 3).write_to_file(str(tmp_path / "test" / "Set5" / "a.png"))
    return tmp_path


def test_maps_and_figures_are_written(folder):
    result = run(folder / "photo.png", "--weights", folder / "tiny.safetensors", "--side", 24, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    assert "layer 0.0: " in result.output
    assert np.load(folder / "out" / "routing.npz")["labels"].shape == (1, 24, 24)
    (layer,) = json.loads((folder / "out" / "routing.json").read_text())["layers"]
    assert set(layer["kept"]) == {"noise", "shift", "mirror"}


def test_drawn_prompts_are_measured(folder):
    weights = ("--weights", folder / "tiny.safetensors")
    data = ("--data", folder / "test", "--sets", "Set5", "--seeds", 2)
    result = run(folder / "photo.png", *weights, *data, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    rows = json.loads((folder / "out" / "routing.json").read_text())["psnr"]
    assert [(row["prompt_order"], row["drawn with seeds"]) for row in rows] == [
        ("image", 0),
        ("image", 2),
        ("sorted", 0),
        ("sorted", 2),
    ]
    assert rows[0]["against the likeliest in image order"] == 0
    assert len(rows[1]["psnr"]) == 2
    assert "Set5, prompts in image order, drawn with 2 seeds: " in result.output


def test_there_is_a_picture(folder):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'mambairv2[plots]'")
    result = run(folder / "photo.png", "--weights", folder / "tiny.safetensors", "-o", folder / "out")
    assert result.exit_code == 0, result.output
    assert (folder / "out" / "routing.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photo.png", "--weights", "plain.safetensors"), "has no attentive scan"),
        (("none.png", "--weights", "tiny.safetensors"), "none.png"),
        (("photo.png", "--weights", "tiny.safetensors", "--data", "test", "--sets", "Set6"), "no test set Set6"),
        (("photo.png", "--weights", "photo.png"), "photo.png"),
        (("photo.png", "--weights", "tiny.safetensors", "--sets", "Set5"), "are for --data"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run(*arguments, "-o", "out")
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (folder / "out").exists()


def test_an_output_that_is_a_file_is_told_before_the_work(folder, monkeypatch):
    from mambairv2.analysis import routing

    monkeypatch.setattr(routing, "route", lambda *_: pytest.fail("the work began"))
    result = run(folder / "photo.png", "--weights", folder / "tiny.safetensors", "-o", folder / "photo.png")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
