"""A run of several processes leaves no connection and no thread of it behind, however it ends."""

import subprocess
import sys

import pytest
from tiny_runs import start, tiny

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
