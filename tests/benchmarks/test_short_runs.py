"""The runs that are compared are recipes that load, and differ where they say."""

from __future__ import annotations

import json

import short_runs
from mambairv2.training.recipe import load_recipe


def test_recipes(tmp_path):
    loaded = []
    for number, change in enumerate(short_runs.variants(40).values()):
        path = tmp_path / f"{number}.toml"
        path.write_text(short_runs.recipe(change, 40))
        loaded.append(load_recipe(path).model_dump())
        for section, values in change.items():
            for key, value in values.items():
                found = loaded[-1][section][key] if section else loaded[-1][key]
                assert found == (tuple(value) if isinstance(found, tuple) else value)
    assert all(recipe != loaded[0] for recipe in loaded[1:])
    first, *_ = loaded
    assert first["train"]["iterations"] == first["keep"]["validate_every"] == 40
    for recipe in loaded:  # as many pixels each
        stages = [{"start": 1, **recipe["data"], **recipe["train"]}, *recipe["train"]["stages"]]
        assert {stage["patch"] ** 2 * stage["total_batch"] for stage in stages} == {4 * 32**2}


def test_unfinished_runs_have_no_result(tmp_path):
    log = tmp_path / "log.jsonl"
    assert short_runs.result(log, 40) is None
    lines = [{"iteration": 0, "Set5/psnr": 30.0}, {"iteration": 40, "loss": 0.1, "seconds": 36.0}]
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert short_runs.result(log, 40) is None
    log.write_text(log.read_text() + json.dumps({"iteration": 40, "Set5/psnr": 34.0}) + "\n")
    assert short_runs.result(log, 40) == (34.0, 0.01)
