"""The comparison with and without a teacher: equal CPU time, and what is killed goes on."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import pyvips

import teacher
from mambairv2.training.recipe import load_recipe
from short_runs import load, to_toml
from small_weights import save_tiny

MODEL = (
    "[model]\nupscale = 2\noverrides = { embed_dim = 8, d_state = 4, depths = [1], num_heads = [2], inner_rank = 4, "
)
MODEL += "num_tokens = 8 }\n"
REST = "[data]\npatch = 16\n[train]\niterations = 100\ntotal_batch = 1\nwarmup = 10\nema = 0.9\n"
REST += "[keep]\nvalidation_sets = ['Mine']\n"
TAUGHT = REST + "[teacher]\nweights = 'WEIGHTS'\ntruth = 0\n[[phases]]\nstart = 0\nfeatures = 1\n[[phases]]\n"
TAUGHT += "start = 60\noutputs = 1\nwarmup = 5\n"


@pytest.fixture
def folder(tmp_path):
    weights = save_tiny(tmp_path / "teacher.safetensors", upscale=2)
    (tmp_path / "taught.toml").write_text(MODEL + TAUGHT.replace("WEIGHTS", str(weights)))
    (tmp_path / "plain.toml").write_text(MODEL.replace("upscale = 2", "upscale = 3") + REST)
    for place in ("photos", "tests/Mine"):
        (tmp_path / place).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
        pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / place / "a.png"))
    return tmp_path


def test_recipes_are_scaled_with_their_phases(folder, tmp_path):
    recipe = load(folder / "taught.toml")
    assert teacher.starts(recipe) == [0, 60]
    (tmp_path / "short.toml").write_text(to_toml(teacher.scaled(recipe, 40, 3, 1)))
    short = load_recipe(tmp_path / "short.toml")
    assert (short.seed, short.train.iterations, short.train.warmup) == (3, 40, 4)
    assert [(phase.start, phase.warmup) for phase in short.phases] == [(0, None), (24, 2)]
    (tmp_path / "pilot.toml").write_text(to_toml(teacher.pilot(recipe)))
    pilot = load_recipe(tmp_path / "pilot.toml")
    assert [phase.start for phase in pilot.phases] == [0, teacher.PILOT]
    assert pilot.train.iterations == 2 * teacher.PILOT
    both = teacher.arms(folder / "taught.toml", folder / "plain.toml")
    assert both[teacher.WITHOUT]["model"]["upscale"] == 2


def test_the_pace_weighs_each_phase_by_its_share():
    recipe = {"train": {"iterations": 100}, "phases": [{"start": 0}, {"start": 60}]}
    cpu, lines = 0.0, []
    for step in range(1, 2 * teacher.PILOT + 1):
        cpu += 2.0 if step <= teacher.PILOT else 5.0
        lines.append({"iteration": step, "cpu_seconds": cpu + 100})  # whatever came before
    assert teacher.seconds_a_step(recipe, lines) == pytest.approx(0.6 * 2 + 0.4 * 5)


def test_the_packaged_recipes_fit_together(tmp_path):
    recipes = teacher.arms(teacher.RECIPES / "light-x4-distilled.toml", teacher.RECIPES / "light-x2-cpu.toml")
    for number, recipe in enumerate(recipes.values()):
        (tmp_path / f"{number}.toml").write_text(to_toml(teacher.scaled(recipe, 400, 1, 10)))
    taught, plain = (load_recipe(tmp_path / f"{number}.toml") for number in range(2))
    assert taught.model.config() == plain.model.config()
    assert taught.data == plain.data
    assert (taught.train.total_batch, taught.keep.validation_sets) == (plain.train.total_batch, ["Set5"])
    assert taught.teacher.weights
    assert not plain.teacher.weights


def run(folder, monkeypatch, *more):
    files = ["--taught", folder / "taught.toml", "--plain", folder / "plain.toml", "--runs", folder / "runs"]
    places = ["--data", folder / "photos", "--validation", folder / "tests"]
    monkeypatch.setattr(sys, "argv", ["teacher.py", *map(str, [*places, *files, *more])])
    teacher.main()


@pytest.mark.slow
def test_a_whole_comparison_goes_on_where_it_stopped(folder, monkeypatch, capfd):
    options = ["--minutes", "0.005", "--seeds", "4"]
    usual = teacher.run

    def stopped(place, name, *rest):
        if name.startswith("without-"):
            raise KeyboardInterrupt
        return usual(place, name, *rest)

    monkeypatch.setattr(teacher, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(folder, monkeypatch, *options)
    first = (folder / "runs" / "teacher-4" / "log.jsonl").read_text()
    monkeypatch.setattr(teacher, "run", usual)
    run(folder, monkeypatch, *options)
    assert (folder / "runs" / "teacher-4" / "log.jsonl").read_text() == first
    found = json.loads((folder / "runs" / "teacher.json").read_text())
    for arm in (teacher.WITH, teacher.WITHOUT):
        points = found["runs"][arm]["4"]
        assert len(points) == teacher.VALIDATIONS + 1
        assert points[0]["cpu_minutes"] == 0 < points[-1]["cpu_minutes"]
    text = (folder / "runs" / "teacher.md").read_text()
    gain = found["runs"][teacher.WITH]["4"][-1]["psnr"] - found["runs"][teacher.WITHOUT]["4"][-1]["psnr"]
    assert f"| difference | {gain:+.3f} | {gain:+.3f} |" in text
    assert capfd.readouterr().out == text
    with pytest.raises(SystemExit, match="was written for other options"):
        run(folder, monkeypatch, "--minutes", "5", "--seeds", "4")
