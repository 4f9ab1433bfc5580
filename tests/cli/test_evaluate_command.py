"""The command `evaluate`: what it measures, and how mistakes are told."""

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import save_model
from stand_in import picture

TINY = MambaIRv2Config(embed_dim=12, d_state=2, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=3, window_size=8)


@pytest.fixture
def sets(tmp_path):
    for name, sizes in (("One", [(37, 41), (40, 30)]), ("Two", [(33, 33)])):
        (tmp_path / name / "HR").mkdir(parents=True)
        for number, size in enumerate(sizes):
            picture(*size, 3).write_to_file(str(tmp_path / name / "HR" / f"{number}.png"))
    return tmp_path


def test_the_command(sets, tmp_path):
    save_model(MambaIRv2(TINY), tmp_path / "tiny.safetensors")
    arguments = ["evaluate", "--data", str(sets), "--weights", str(tmp_path / "tiny.safetensors"), "--sets", "One"]
    arguments += ["--device", "cpu", "--tile", "64", "--json", str(tmp_path / "out" / "all.json"), "--limit", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "| One" in result.output
    assert len(json.loads((tmp_path / "out" / "all.json").read_text())["results"][0]["images"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sets", "None"], "no test set None in .*; it has Broken, One, Two$"),
        (["--data", "nowhere"], "no folder nowhere"),
        (["--weights", "nothing"], "nothing: no such weights"),
        (["--weights", "WEIGHTS", "--task", "jpeg"], "enlarges ×2, which --task jpeg does not measure"),
        (["--weights", "WEIGHTS", "--device", "abacus"], "no device abacus here"),
        (
            ["--weights", "WEIGHTS", "--sets", "One", "--tile", "20"],
            "tile must be a multiple of 8 above the overlap of 16",
        ),
        (["--weights", "WEIGHTS", "--scale", "3"], r"tiny\.safetensors enlarges ×2, not ×3; leave --scale out"),
        (["--task", "denoise", "--scale", "2"], "--scale is for --task sr, photo, not for denoise"),
        (["--level", "25"], "--level is for --task denoise, jpeg, photo; for sr there is --scale"),
        (["--json", "FOLDER"], "is a folder; give a file"),
        (["--csv", "WEIGHTS/a.csv"], "tiny.safetensors.*: (file exists|not a directory)"),
        (["--sets", "Broken"], r"cut\.png: is damaged or cut short"),
    ],
)
def test_mistakes_are_told_in_a_line(sets, tmp_path, arguments, says):
    weights = tmp_path / "tiny.safetensors"
    save_model(MambaIRv2(TINY), weights)
    (tmp_path / "Broken").mkdir()
    (tmp_path / "Broken" / "cut.png").write_bytes((sets / "One" / "HR" / "0.png").read_bytes()[:300])
    given = [a.replace("WEIGHTS", str(weights)).replace("FOLDER", str(tmp_path)) for a in arguments]
    result = CliRunner().invoke(app, ["evaluate", "--data", str(sets), *given])
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert re.search(f"^error: .*{says}", line)


def test_a_limited_measurement_says_so(sets):
    (sets / "One").rename(sets / "Set5")
    result = CliRunner().invoke(app, ["evaluate", "--data", str(sets), "--limit", "1"])
    assert "# Baseline, first 1 of each set: not comparable with published figures" in result.stdout
    assert "MambaIRv2" not in result.stdout
    assert "ours" not in result.stdout  # only the baseline was measured


def test_a_folder_of_one_weight_file_stands_for_it(sets, tmp_path):
    for name in ("run", "other"):
        save_model(MambaIRv2(TINY), tmp_path / "runs" / name / "ema.safetensors")
    command = ["evaluate", "--data", str(sets), "--sets", "Two", "--weights"]
    assert CliRunner().invoke(app, [*command, str(tmp_path / "runs" / "run")]).exit_code == 0
    result = CliRunner().invoke(app, [*command, str(tmp_path / "runs")])
    assert "there are several weight files" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("evaluate --data nowhere", "no folder nowhere"),
        ("evaluate --data . --sets Three", "no test set Three in ."),
        ("evaluate --data . --weights nothing", "nothing: no such weights"),
        ("evaluate --data . --weights sr-x2 --scale 3", "sr-x2 enlarges ×2, not ×3"),
        ("evaluate --data . --weights sr-x2 --tile 20", "tile must be a multiple of 16"),
        ("evaluate --data . --json .", ". is a folder"),
        ("reproduce --data . nothing", "nothing: no such weights"),
        ("reproduce --data . --sets Three", "no test set Three in ."),
    ],
)
def test_these_mistakes_are_told_before_torch_is_loaded(sets, monkeypatch, arguments, says):
    monkeypatch.chdir(sets)
    for module in ("evaluation.evaluate", "evaluation.paper_tables", "restoration.restorer", "weights.load"):
        monkeypatch.setitem(sys.modules, f"mambairv2.{module}", None)  # each imports torch
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {says}"), result.stderr
