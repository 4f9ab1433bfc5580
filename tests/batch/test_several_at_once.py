"""Several files at once on this machine: the same files, side by side, and an end where one is asked for."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from folder_runs import fill, outputs

from mambairv2.batch.local_engine import restore_here
from mambairv2.batch.outcome import Reading
from mambairv2.batch.work_list import Job
from mambairv2.restoration import planning
from mambairv2.restoration.restorer import Restorer
from stand_in import StandIn, picture


class Watcher:
    """Keeps what becomes of each job."""

    def __init__(self):
        self.outcomes = []

    def begun(self, job):
        return lambda done, total: None

    def planned(self, job, estimate):
        pass

    def done(self, outcome):
        self.outcomes.append(outcome)


def job(folder, name, *size):
    picture(*size, 3).pngsave(str(folder / f"{name}.png"))
    return Job(str(folder / f"{name}.png"), str(folder / f"{name}_out.png"))


class Meeting(StandIn):
    """A network that waits until so many of its calls run at the same time, and notes the threads of each."""

    def __init__(self, calls):
        super().__init__()
        self.barrier, self.threads = threading.Barrier(calls, timeout=30), []

    def forward(self, x):
        self.barrier.wait()
        self.threads.append(torch.get_num_threads())
        return super().forward(x)


def test_outputs_do_not_depend_on_how_many_are_restored_at_once(photos, tmp_path, run):
    fill(tmp_path / "more", 5)
    (tmp_path / "more" / "000.png").write_bytes(b"damaged")
    (tmp_path / "more").rename(photos / "more")
    for workers in (1, 2, 7):
        code, last, errors = run(photos, "-r", "-o", tmp_path / f"by {workers}", "--workers", workers)
        assert (code, last, len(errors)) == (1, "7 restored, 0 skipped, 1 failed", 1)
    first = whole(tmp_path / "by 1")
    assert len(first) == 7
    assert whole(tmp_path / "by 2") == whole(tmp_path / "by 7") == first


def whole(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.mark.parametrize(("workers", "share"), [(2, 3), (3, 2)])
def test_they_run_side_by_side_on_their_share_of_threads(tmp_path, workers, share):
    network, watcher = Meeting(workers), Watcher()
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        some = [job(tmp_path, number, 16, 16) for number in range(2 * workers)]
        restore_here(Restorer(network, "cpu"), some, Reading(), watcher, workers)
        assert torch.get_num_threads() == 6
    finally:
        torch.set_num_threads(before)
    assert [outcome.error for outcome in watcher.outcomes] == [None] * 2 * workers
    assert network.threads == [share] * 2 * workers


def test_several_share_the_free_memory(monkeypatch):
    restorer = Restorer(StandIn(), "cpu")
    room = restorer._planner.working_memory(restorer.plan((1000, 1000))) / planning.SHARE
    monkeypatch.setattr(planning, "free_memory", lambda device: 2 * room)
    alone = restorer.plan((1000, 1000))
    restorer.share_memory(2)
    assert restorer.plan((1000, 1000)) == alone
    restorer.share_memory(3)
    assert restorer.plan((1000, 1000)).tile < alone.tile


def test_an_error_of_the_watcher_ends_the_run_at_the_next_tile(tmp_path):
    entered, known, tiles = threading.Event(), threading.Event(), []

    class Slow(StandIn):
        def forward(self, x):
            if x.shape[-1] == 64:  # a tile of the second picture
                tiles.append(x)
                entered.set()
                assert known.wait(30)
            else:
                assert entered.wait(30)
            return super().forward(x)

    class Full(Watcher):
        def done(self, outcome):
            threading.Timer(0.5, known.set).start()
            raise OSError("the disk is full")

    slow = Restorer(Slow(), "cpu", tile=64, overlap=0, margin=False)
    some = [job(tmp_path, "small", 16, 16), job(tmp_path, "tall", 512, 64), *[job(tmp_path, n, 16, 16) for n in "abc"]]
    with pytest.raises(OSError, match="disk is full"):
        restore_here(slow, some, Reading(), Full(), 2)
    assert len(tiles) == 1  # of eight
    left = {path.name for path in tmp_path.iterdir()} - {Path(one.source).name for one in some}
    assert left <= {"small_out.png", "a_out.png"}  # one more begins before the error is seen


def test_a_run_that_is_terminated_leaves_nothing_half_done(photos, tmp_path, weights, run):
    for number in range(4):
        picture(300, 300 + number, 3).pngsave(str(photos / f"large{number}.png"))
    assert run(photos, "-o", tmp_path / "undisturbed")[0] == 0
    out, path = tmp_path / "out", os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "mambairv2.cli", "restore", photos, "-o", out, "--weights", weights]
    process = subprocess.Popen(
        [*map(str, command), "--workers", "3"], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    assert 0 < len(outputs(out)) < 7
    assert all(outputs(tmp_path / "undisturbed")[name] == whole for name, whole in outputs(out).items())
    code, _, errors = run(photos, "-o", out, "--workers", 2)
    assert (code, errors) == (0, [])
    assert outputs(out) == outputs(tmp_path / "undisturbed")
