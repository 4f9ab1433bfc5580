"""benchmarks/training.py runs to its end; its figures are for a quiet machine and are not judged here."""

import json
import sys
from contextlib import suppress

import pytest

import training
from stand_in import picture

RECIPE = """
[model.overrides]
embed_dim = 12
d_state = 2
depths = [1]
num_heads = [2]
num_tokens = 4
inner_rank = 3
window_size = 8
[data]
patch = 8
[train]
iterations = 100
total_batch = 6
[keep]
checkpoint_every = 50
"""


def test_it_measures_a_recipe(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    picture(40, 50, 3).write_to_file(str(tmp_path / "images" / "a.png"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    arguments = ["--data", str(tmp_path / "images"), "--json", str(tmp_path / "out.json"), "--steps", "2"]
    arguments += ["--seconds", "0.1", "--pixels", "256", str(tmp_path / "tiny.toml")]
    monkeypatch.setattr(sys, "argv", ["training.py", *arguments])
    with suppress(SystemExit):  # an aim missed by a network this small
        training.main()
    (row,) = json.loads((tmp_path / "out.json").read_text()).values()
    assert (row["patch"], row["batch"], row["save_every"]) == (8, 4, 50)
    assert row["loader_images_s"] == pytest.approx(row["ratio"] * row["model_images_s"])
    assert 0 < row["model_s"] < row["step_s"]
    assert row["loop_share"] > 0
    assert "tiny.toml | 8 |" in capsys.readouterr().out
