"""Runs that are stopped or killed go on bit for bit as if they had not been."""

import signal
import subprocess

import pytest
from tiny_runs import TINY, assert_same, losses, start, tiny, wait_for, weights

from mambairv2.training.checkpoint import load_checkpoint
from mambairv2.training.loop import train


def test_stopping_and_resuming_changes_no_bit(options):
    whole, parts = options("whole"), options("parts")
    train(tiny(8), whole)
    for _ in range(20):
        if train(
            tiny(8, keep={"log_every": 1, "checkpoint_every": 0, "validate_every": 0}),
            options("parts", max_minutes=0),
        ):
            break
    assert losses(parts.run) == losses(whole.run)
    assert_same(weights(parts.run), weights(whole.run))


@pytest.mark.slow
def test_kill_minus_nine_and_resume_changes_no_bit(options):
    whole, killed = options("whole"), options("killed")
    recipe = tiny(60, keep={"checkpoint_every": 7})
    subprocess.run(start(recipe, whole), check=True, capture_output=True)
    for iteration in (10, 30):
        process = subprocess.Popen(start(recipe, killed), stderr=subprocess.PIPE)
        wait_for(killed.run, iteration, process)
        process.kill()
        process.communicate()
        assert len(losses(killed.run)) < 60
    subprocess.run(start(recipe, killed), check=True, capture_output=True)
    assert losses(killed.run) == losses(whole.run)
    assert_same(weights(killed.run), weights(whole.run))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly(options, number):
    recipe = tiny(100000, keep={"checkpoint_every": 0})
    process = subprocess.Popen(start(recipe, options()), stderr=subprocess.PIPE, text=True)
    wait_for(options().run, 3, process)
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    last = losses(options().run)[-1][0]
    assert f"stopped at iteration {last}" in said
    assert load_checkpoint(options().run)["iteration"] == last


def test_another_model_in_the_same_run_is_refused_and_fresh_starts_again(options):
    train(tiny(2), options())
    with pytest.raises(ValueError, match="another model or seed"):
        train(tiny(2, model={"overrides": {**TINY, "embed_dim": 16}}), options())
    train(tiny(3), options(fresh=True))
    assert [at for at, _ in losses(options().run)] == [1, 2, 3]
