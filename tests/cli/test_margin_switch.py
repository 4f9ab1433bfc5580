"""`restore --no-margin` and `evaluate --margin`: the same word for the same thing."""

import json

import numpy as np
import pytest
import pyvips
from typer.testing import CliRunner

from mambairv2 import Restorer
from mambairv2.cli.main import app
from small_weights import save_tiny
from stand_in import picture


def run(*arguments):
    ended = CliRunner().invoke(app, [*map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.fixture
def weights(tmp_path):
    return save_tiny(tmp_path / "tiny.safetensors")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    picture(21, 30, 3).pngsave(str(tmp_path / "in" / "a.png"))
    return tmp_path / "in"


def pixels(path):
    return pyvips.Image.new_from_file(str(path)).numpy()


def test_the_switch_is_that_of_the_restorer(folder, weights, tmp_path):
    found = {}
    for switch, margin in (("--margin", True), ("--no-margin", False), (None, True)):
        target = tmp_path / f"{switch}.png"
        run("restore", folder / "a.png", "-o", target, "--weights", weights, *([switch] if switch else []))
        expected = Restorer(weights, "cpu", margin=margin).restore(folder / "a.png")
        assert np.array_equal(pixels(target), expected)
        found[switch] = expected
    assert not np.array_equal(found["--margin"], found["--no-margin"])


def recorded(folder):
    lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return [line["settings"]["margin"] for line in lines if "settings" in line]


def test_the_record_of_a_run_tells_which_it_was(folder, weights, tmp_path):
    out = tmp_path / "out"
    run("restore", folder, "-o", out, "--weights", weights)
    assert recorded(out)[-1] is True
    before = (out / "a.png").read_bytes()
    run("restore", folder, "-o", out, "--weights", weights, "--no-margin", "--overwrite")
    assert (out / "a.png").read_bytes() != before
    assert recorded(out)[-1] is False


def test_evaluate_has_both_words(folder, weights):
    said = {
        switch: run("evaluate", "--data", folder, "--weights", weights, switch)
        for switch in ("--margin", "--no-margin")
    }
    assert "with the margin of restore" in said["--margin"]
    assert "with the margin of restore" not in said["--no-margin"]
