"""The command `evaluate`: what it measures, and how mistakes are told."""

import json
import re
import sys
from dataclasses import replace

import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.evaluation.metrics import psnr
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
    told = json.loads((tmp_path / "out" / "all.json").read_text())
    assert len(told["results"][0]["images"]) == 1
    assert "margin" not in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--margin"])
    assert "with the margin of restore" in result.stdout
    with_margin = json.loads((tmp_path / "out" / "all.json").read_text())
    assert with_margin["results"][0]["images"] != told["results"][0]["images"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sets", "None"], "no test set None in .*; it has Broken, One, Two$"),
        (["--data", "nowhere"], "no folder nowhere"),
        (["--weights", "nothing"], "nothing: no such weights"),
        (["--weights", "WEIGHTS", "--task", "jpeg"], "enlarges ×2, which --task jpeg does not measure"),
        (["--weights", "WEIGHTS", "--device", "abacus"], "no device abacus here"),
        (
            ["--weights", "WEIGHTS", "--device", "mps:7"],
            r"no device mps:7 here \(PyTorch finds no Apple GPU\)",
        ),
        (["--weights", "WEIGHTS", "--inputs", "nowhere"], "no folder nowhere"),
        (["--inputs", "FOLDER", "--task", "jpeg"], "--inputs are measured as they are; leave --task out"),
        (["--inputs", "FOLDER", "--level", "25"], "--inputs are measured as they are; leave --level out"),
        (["--weights", "WEIGHTS", "--inputs", "FOLDER", "--scale", "3"], "enlarges ×2, not ×3; leave --scale out"),
        (
            ["--inputs", "FOLDER/One/HR", "--sets", "Two"],
            r"0\.png: 41x37, expected 33x33, the size of .*0\.png$",
        ),
        (["--inputs", "FOLDER/One", "--sets", "Two"], r"no input image for .*0\.png in .*One; an input is named"),
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
    data = [] if "--data" in given else ["--data", str(sets)]
    result = CliRunner().invoke(app, ["evaluate", *data, *given])
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


def test_ready_made_inputs(sets, tmp_path):
    """For weights at x1 that were trained on pairs, there is no other damage to measure."""
    for name in ("One", "Two"):
        for file in (sets / name / "HR").iterdir():
            soft = pyvips.Image.new_from_file(str(file)).gaussblur(1)
            (tmp_path / "soft" / name).mkdir(parents=True, exist_ok=True)
            soft.write_to_file(str(tmp_path / "soft" / name / file.name))
    weights = tmp_path / "mine.safetensors"
    save_model(MambaIRv2(replace(TINY, upscale=1, upsampler="")), weights, {"task": "pairs"})
    start = ["evaluate", "--data", str(sets), "--weights", str(weights), "--sets", "One,Two"]
    refused = CliRunner().invoke(app, start)
    assert refused.exit_code == 1
    assert refused.stderr.endswith("was trained on ready-made inputs; give --inputs, or another --task\n")
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, [*start, "--inputs", str(tmp_path / "soft"), "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "## pairs\n" in done.stdout
    assert re.search(r"\| set *\| images *\| ours *\| input *\| gain", done.stdout)
    found = json.loads(out.read_text())["results"]
    assert [(one["set"], len(one["images"]), one["protocol"]) for one in found] == [
        ("One", 2, "pairs"),
        ("Two", 1, "pairs"),
    ]
    target, soft = (
        pyvips.Image.new_from_file(str(f)).numpy() for f in (sets / "Two/HR/0.png", tmp_path / "soft/Two/0.png")
    )
    assert found[1]["mean"]["base_psnr"] == pytest.approx(psnr(soft, target, "rgb"))
    other = CliRunner().invoke(app, ["reproduce", "--data", str(sets), str(weights), "-o", str(tmp_path / "all.md")])
    assert other.exit_code == 0, other.output
    assert "no table takes a pairs network of this kind" in (tmp_path / "all.md").read_text()


@pytest.mark.parametrize(
    "command",
    [
        "train mine.toml",
        "evaluate --data {sets} --weights sr-x2",
        "reproduce --data {sets} sr-x2",
        "restore {sets}/a.png",
    ],
)
@pytest.mark.parametrize("device", ["mps", "cuda", "cuda:99"])
def test_a_device_that_is_not_there_is_told_in_a_line(sets, tmp_path, monkeypatch, command, device):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "mine.toml").write_text("[train]\niterations = 1\n")
    picture(8, 8, 3).write_to_file(str(sets / "a.png"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command.format(sets=sets).split(), "--device", device])
    assert result.exit_code in (1, 2)
    *_, line = result.stderr.splitlines()
    assert re.match(r"error: (no device|no training on device|torch finds no CUDA)", line)
    assert len(line) < 200
    assert len(result.stderr.splitlines()) == 1
