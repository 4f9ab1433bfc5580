"""Small training runs, in this process or another, and what they leave behind."""

import json
import sys
import time
from pathlib import Path

import torch

from mambairv2.training import checkpoint
from mambairv2.training.checkpoint import load_checkpoint
from mambairv2.training.recipe import Recipe

SIZES = {"embed_dim": 12, "d_state": 2, "num_tokens": 4, "inner_rank": 3, "window_size": 8}
TINY = {**SIZES, "depths": [1, 1], "num_heads": [2, 2]}


def tiny(iterations=6, model=None, data=None, keep=None, teacher=None, phases=(), **changes):
    return Recipe.model_validate(
        {
            "seed": 5,
            "model": {"overrides": TINY, **(model or {})},
            "data": {"patch": 8, **(data or {})},
            "train": {"iterations": iterations, "total_batch": 4, "lr": 1e-3, **changes},
            "teacher": teacher or {},
            "phases": phases,
            "keep": {"log_every": 1, "checkpoint_every": 2, "validate_every": 0, **(keep or {})},
        }
    )


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run):
    return [(line["iteration"], line["loss"]) for line in log(run) if "loss" in line]


def weights(run):
    content = load_checkpoint(run)
    return {**content["model"], **{f"ema {k}": v for k, v in content["ema"].items()}}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_close(run, expected, atol=1e-6):
    found, wanted = weights(run), weights(expected)
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, atol=atol, rtol=0)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from mambairv2.training.loop import train
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup.options import Options
train(Recipe.model_validate_json({recipe!r}), Options(**{options!r}))
"""


def start(recipe, options):
    plain = {"run": options.run, "data": options.data, "accelerator": "cpu", "cache": options.cache}
    plain |= {"devices": options.devices}
    source = Path(checkpoint.__file__).parents[1]
    script = SCRIPT.format(paths=[str(source)], recipe=recipe.model_dump_json(), options=plain)
    script = "from pathlib import PosixPath\n" + script
    return [sys.executable, "-c", script]


def wait_for(run, iteration, process):
    for _ in range(600):
        if (run / "log.jsonl").exists() and (run / "log.jsonl").read_text().count("\n") >= iteration:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the run did not get that far")
