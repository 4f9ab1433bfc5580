"""Training runs: they learn, and no split of the batch, precision or checkpointing changes what they should give."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import assert_close, assert_same, losses, start, tiny

from mambairv2.training.checkpoint import checkpoints, load_checkpoint
from mambairv2.training.loop import train
from mambairv2.weights.load import load_model


def test_a_run_learns_and_writes_what_it_should(options):
    assert train(tiny(60, lr=3e-3, keep={"checkpoint_every": 20}), options())
    run = options().run
    lines = losses(run)
    assert [at for at, _ in lines] == list(range(1, 61))
    assert np.mean([loss for _, loss in lines[-5:]]) < 0.6 * np.mean([loss for _, loss in lines[:5]])
    assert [path.name for path in checkpoints(run)] == ["checkpoint-000000060.pt", "checkpoint-000000040.pt"]
    averaged = load_model(run / "ema.safetensors")
    assert_same(dict(averaged.named_parameters()), dict(load_checkpoint(run)["ema"]))


def test_accumulation_gives_the_same_weights(options):
    for name, micro in (("whole", 0), ("pieces", 1), ("uneven", 3)):
        train(tiny(3, micro_batch=micro), options(name))
    for name in ("pieces", "uneven"):
        assert_close(options(name).run, options("whole").run)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(options, tmp_path):
    alone, both = options("alone"), options("both", devices=2)
    recipe = tiny(3, total_batch=6, micro_batch=2)  # three patches each, in pieces of two and one
    train(recipe.model_copy(update={"train": recipe.train.model_copy(update={"micro_batch": 0})}), alone)
    script = tmp_path / "run.py"
    script.write_text(start(recipe, both)[-1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "2 × cpu" in ended.stderr
    assert_close(both.run, alone.run)
    for (at, loss), (other, expected) in zip(losses(both.run), losses(alone.run), strict=True):
        assert at == other
        assert loss == pytest.approx(expected, abs=1e-6)


def test_activation_checkpointing_changes_memory_not_weights(options):
    train(tiny(2), options("plain"))
    train(tiny(2, checkpointing=True), options("less"))
    assert_close(options("less").run, options("plain").run)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_runs(options, precision):
    train(tiny(3, precision=precision), options())
    assert all(math.isfinite(loss) for _, loss in losses(options().run))


def test_dry_run_estimates_and_writes_nothing(options, capsys):
    assert not train(tiny(2), options(dry_run=True))
    assert "s a step" in capsys.readouterr().err
    assert not options().run.exists()


def test_what_cannot_run_is_told_before_it_starts(images, options, monkeypatch):
    with pytest.raises(ValueError, match="4 cannot be spread over 5"):
        train(tiny(2), options(devices=5))
    with pytest.raises(ValueError, match="4 cannot be spread over 5"):
        train(tiny(2, total_batch=8, stages=[{"start": 1, "patch": 8, "total_batch": 4}]), options(devices=5))
    recipe = tiny(2, keep={"validate_every": 2, "validation_sets": ["Set5"]})
    with pytest.raises(FileNotFoundError, match=f"no test set Set5 in .*; it has .*{images.name}"):
        train(recipe, options(dry_run=True, validation=images.parent))
    start = tiny(2, model={"start_from": "runs/earlier/ema.safetensors"})
    with pytest.raises(ValueError, match=r"^start_from: runs/earlier/ema\.safetensors: no such weights"):
        train(start, options(dry_run=True))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started for --devices 1 --nodes 1"):
        train(tiny(2), options())


def test_missing_data_is_told_with_the_option_that_gives_it(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAMBAIRV2_DATA", raising=False)
    recipe = tiny(2, keep={"validate_every": 2})
    with pytest.raises(FileNotFoundError, match=r"no folder data/train .* by --data$"):
        train(recipe, replace(options(dry_run=True), data=()))
    train(recipe, options(dry_run=True))
    assert "without validation: no folder data/test" in capsys.readouterr().err
