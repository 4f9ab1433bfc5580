"""Validation during a run: due at its iterations, once each, also where a run is resumed."""

import json
import math

from tiny_runs import log, tiny

from mambairv2.evaluation.evaluate import Score
from mambairv2.training import validation
from mambairv2.training.loop import train


def test_validation_is_logged(images, options, tmp_path):
    recipe = tiny(2, keep={"validate_every": 2, "validation_sets": [images.name]})
    train(recipe, options(validation=images.parent))
    figures = [line[f"{images.name}/psnr"] for line in log(options().run) if f"{images.name}/psnr" in line]
    assert len(figures) == 2


def test_a_validation_that_a_stop_prevented_is_made_when_the_run_goes_on(images, options, tmp_path):
    recipe = tiny(3, keep={"validate_every": 1, "validation_sets": [images.name]})
    while not train(recipe, options(validation=images.parent, max_minutes=0)):
        pass
    key = f"{images.name}/psnr"
    assert [line["iteration"] for line in log(options().run) if key in line] == [0, 1, 2, 3]
    train(recipe, options("whole", validation=images.parent))
    figures = [[line[key] for line in log(options(run).run) if key in line] for run in ("run", "whole")]
    assert figures[0] == figures[1]


def test_progress_lines_tell_the_learning_rate_and_the_time_left(options, capsys):
    train(tiny(4, lr=2e-3), options())
    shown = [line for line in capsys.readouterr().err.splitlines() if "images/s" in line]
    assert all("  lr 2.00e-03  " in line for line in shown)
    assert [" left" in line for line in shown] == [False, True, True, False]  # nothing to go by, nothing left
    assert [line["lr"] for line in log(options().run)] == [2e-3] * 4


def test_an_infinite_psnr_leaves_the_log_valid(images, options, monkeypatch):
    """Equal images; other readers than Python's refuse Infinity."""
    monkeypatch.setattr(validation, "evaluate_set", lambda *given: [Score("a", math.inf, 1.0, 30.0, 0.9, 0.1)])
    train(tiny(1, keep={"validate_every": 1, "validation_sets": [images.name]}), options(validation=images.parent))
    text = (options().run / "log.jsonl").read_text()

    def refuse(name):
        raise AssertionError(name)

    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert [line[f"{images.name}/psnr"] for line in lines if f"{images.name}/psnr" in line] == [None, None]
