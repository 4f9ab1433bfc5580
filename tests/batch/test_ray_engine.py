"""A cluster with a worker, or a machine, that dies."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from folder_runs import fill, outputs

from mambairv2.batch.jobs import Job
from mambairv2.batch.outcome import Reading
from mambairv2.installation import install_extra
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer
from small_weights import SMALL
from stand_in import StandIn, picture, restorer


class Deadly(StandIn):
    """Kills its process the first time it sees an image of a certain width."""

    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def forward(self, x):
        if x.shape[-1] >= 40 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


@pytest.fixture
def ray(monkeypatch):
    """Ray, whose workers find the modules of the tests."""
    module = pytest.importorskip("ray", reason=f"ray is not installed: {install_extra('ray')}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setenv("RAY_DISABLE_MEMORY_MONITOR", "1")
    yield module
    module.shutdown()


def restored_on_ray(tmp_path, tool, done=lambda outcome: None):
    """Six files by two workers, and the same files here, to compare."""
    from mambairv2.batch.ray_engine import restore_on_ray

    photos, out, here = (tmp_path / name for name in ("photos", "out", "here"))
    fill(photos, 6)
    picture(10, 40, 3).pngsave(str(photos / "002.png"))
    jobs = [Job(str(path), str(out / path.name)) for path in sorted(photos.iterdir())]
    out.mkdir()
    here.mkdir()
    outcomes = []

    def told(outcome):
        outcomes.append(outcome)
        done(outcome)

    watcher = SimpleNamespace(begun=lambda job: None, done=told)
    restore_on_ray(tool, "cpu", jobs, Reading(), watcher, 2)
    assert [outcome.error for outcome in outcomes] == [None] * len(jobs)
    assert {outcome.job for outcome in outcomes} == set(jobs)
    for job in jobs:
        tool.restore_file(job.source, here / Path(job.target).name)
    return outputs(out), outputs(here)


def test_a_worker_that_dies_is_replaced_and_its_file_done(tmp_path, ray):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    there, here = restored_on_ray(tmp_path, Restorer(Deadly(tmp_path / "killed"), "cpu"))
    assert (tmp_path / "killed").exists()
    assert there == here


class Slow(StandIn):
    def forward(self, x):
        time.sleep(0.5)
        return super().forward(x)


@pytest.mark.skipif("MAMBAIRV2_CLUSTER" not in os.environ, reason="takes half a minute: MAMBAIRV2_CLUSTER=1")
def test_a_machine_that_dies_is_done_without(tmp_path, ray):
    """Two nodes of a cluster on this machine, each with a worker; the second is killed once a file is done."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    raylet = second.all_processes["raylet"][0].process
    try:
        there, here = restored_on_ray(tmp_path, Restorer(Slow(), "cpu"), lambda outcome: raylet.kill())
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert raylet.poll() == -signal.SIGKILL
    assert there == here


def test_workers_restore_as_this_process_does_whatever_the_settings(tmp_path, ray):
    """A file for each of two networks, at the border of which a margin shows."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    first = Restorer(MambaIRv2(SMALL), "cpu", margin=False, tile=32, overlap=0, strength=0.75)
    choosing = Choosing(("photo-x2", first), ("sr-x2", restorer(self_ensemble=True)))
    there, here = restored_on_ray(tmp_path, choosing)
    assert there == here


@pytest.mark.parametrize("clean", [True, False])
def test_a_choice_of_networks_is_the_same_on_another_device(clean):
    one = Choosing(("photo-x2", restorer(strength=0.5)), ("sr-x2", restorer(margin=False)) if clean else None)
    other = one.on("cpu")
    assert [n and n[0] for n in (other.photo, other.clean)] == ["photo-x2", "sr-x2" if clean else None]
    assert other.photo[1].strength == 0.5
    if clean:
        assert not other.clean[1].margin
