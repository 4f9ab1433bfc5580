"""Runs that are stopped or killed go on bit for bit as if they had not been, and every run leaves nothing behind."""

import signal
import subprocess
import sys

import pytest
from tiny_runs import TINY, assert_same, losses, start, tiny, wait_for, weights

from mambairv2.training.checkpoint import load_checkpoint
from mambairv2.training.loop import train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
END = """
except OSError as error:
    assert "full" in str(error), error
names = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
assert not torch.distributed.is_initialized()
assert not [name for name in names if "gloo" in name], names
"""
FULL = """
def full(*_, **__):
    raise OSError("the disk is full")
import mambairv2.training.loop
mambairv2.training.loop.validate_if_due = full
"""
MANY = """
import os, socket
for _ in range(5):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    children = []
    for rank in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            break
    else:
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        continue
    break
else:
    os._exit(0)
"""


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


def script_of(recipe, options):
    """The text of a run, up to its last line, and that line."""
    before, call = start(recipe, options)[-1].rstrip().rsplit("\n", 1)
    return before, call


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("fault", ["", FULL], ids=["finished", "failed"])
def test_no_thread_of_gloo_is_left(options, tmp_path, fault):
    before, call = script_of(tiny(2), options(devices=2))
    script = tmp_path / "run.py"
    script.write_text(f"{before}\n{fault}\ntry:\n    {call}{END}")
    ended = subprocess.run([*TORCHRUN, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_five_runs_of_two_processes_end_well(options, monkeypatch):
    """Each pair is forked from a process that has loaded torch, so that five take seconds."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "ends")
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    before, call = script_of(tiny(1), options(devices=2, fresh=True))
    script = f"{before}\n{MANY}\n{call}\n"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stderr.count("finished: ") == 5
