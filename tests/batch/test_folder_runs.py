"""Runs over many files: the manifest, going on after a kill, remote places, and a cluster with a worker that dies."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2.batch.jobs import Job
from mambairv2.batch.manifest import Manifest, ManifestError
from mambairv2.batch.worker import Reading
from mambairv2.cli.main import app
from mambairv2.files.atomic import PREFIX
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from mambairv2.weights.save import save_model
from stand_in import StandIn, picture

KILLS = int(os.environ.get("MAMBAIRV2_KILLS", "5"))
TINY = {"embed_dim": 8, "d_state": 4, "depths": (1,), "num_heads": (2,), "inner_rank": 4, "num_tokens": 8}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(MambaIRv2(MambaIRv2Config(**TINY)), path)
    return path


@pytest.fixture
def run(weights):
    """Run the command line: its exit code, the last line it printed, the lines of stderr."""

    def run(*arguments):
        done = CliRunner().invoke(app, ["restore", *map(str, arguments), "--weights", str(weights)])
        return done.exit_code, (done.stdout.splitlines() or [""])[-1], done.stderr.splitlines()

    return run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    fill(folder, 3)
    return folder


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def fill(folder, count):
    folder.mkdir()
    for number in range(count):
        picture(6 + number % 5, 8, 3).pngsave(str(folder / f"{number:03}.png"))


def lines(manifest, status):
    found = [json.loads(line) for line in manifest.read_text("utf-8").split("\n") if line]
    return [line for line in found if line["status"] == status]


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.jsonl"}


def stamps(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in outputs(folder)}


def test_the_same_command_does_nothing_twice(photos, tmp_path, run):
    out = tmp_path / "out"
    assert run(photos, "-o", out) == (0, "3 restored, 0 skipped, 0 failed", [])
    before = stamps(out)
    assert run(photos, "-o", out) == (0, "0 restored, 3 skipped, 0 failed", [])
    assert stamps(out) == before
    (out / "001.png").unlink()
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    assert run(photos, "-o", out, "--fresh") == (0, "3 restored, 0 skipped, 0 failed", [])


def test_folder_and_manifest_can_be_moved(photos, tmp_path, run):
    run(photos, "-o", tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert run(photos, "-o", tmp_path / "elsewhere")[1] == "0 restored, 3 skipped, 0 failed"


def test_a_changed_input_is_restored_again(photos, tmp_path, run):
    out = tmp_path / "out"
    run(photos, "-o", out)
    before = outputs(out)
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    after = outputs(out)
    assert [name for name in after if after[name] != before[name]] == ["001.png"]


def test_an_output_that_somebody_changed_is_not_replaced(photos, tmp_path, run):
    run(photos, "-o", tmp_path / "out")
    (tmp_path / "out" / "001.png").write_bytes(b"retouched")
    code, _, errors = run(photos, "-o", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    assert "001.png: exists already; pass --overwrite or --skip-existing" in errors[0]


def test_other_settings_replace_only_when_asked_and_are_not_taken_for_the_first(photos, tmp_path, run):
    """Uncompressed, so that outputs of either settings have the same size."""
    out = tmp_path / "out"
    plain = (photos, "-o", out, "--compression", "0")
    run(*plain)
    first = outputs(out)
    code, _, errors = run(*plain, "--self-ensemble")
    assert (code, len(errors), outputs(out)) == (2, 1, first)
    assert "exists already" in errors[0]
    assert run(*plain, "--self-ensemble", "--overwrite")[0] == 0
    other = outputs(out)
    assert [len(other[name]) for name in first] == [len(first[name]) for name in first]
    assert other != first
    assert run(*plain)[0] == 2
    assert run(*plain, "--self-ensemble")[1] == "0 restored, 3 skipped, 0 failed"
    assert outputs(out) == other


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_an_output_replaced_before_a_kill_that_the_manifest_missed_is_ours(photos, tmp_path, run, fresh):
    """The kill comes between the output's renaming and its line; then the input changes once more."""
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run(photos, "-o", out)
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    run(photos, "-o", out, *fresh)
    text = manifest.read_text().splitlines(keepends=True)
    assert [json.loads(line)["status"] for line in text][-1] == "done"
    last = max(number for number, line in enumerate(text) if '"done"' in line and "001.png" in line)
    manifest.write_text("".join(text[:last]))
    picture(30, 30, 3).pngsave(str(photos / "001.png"))
    code, _, errors = run(photos, "-o", out)
    assert (code, errors) == (0, [])
    assert pyvips.Image.new_from_file(str(out / "001.png")).height == 60


def test_what_is_retouched_after_a_run_that_did_not_replace_it_is_not_ours(photos, tmp_path, run):
    out = tmp_path / "out"
    run(photos, "-o", out)
    (photos / "001.png").write_text("no picture")
    assert run(photos, "-o", out)[0] == 1  # the output was begun, and is as it was
    picture(20, 20, 3).pngsave(str(photos / "001.png"))
    (out / "001.png").write_bytes(b"retouched")
    assert run(photos, "-o", out)[0] == 2
    assert (out / "001.png").read_bytes() == b"retouched"


def test_a_failed_file_is_tried_again(photos, tmp_path, run):
    out = tmp_path / "out"
    (photos / "bad.png").write_text("no picture")
    for restored in (3, 0):
        code, last, errors = run(photos, "-o", out)
        assert (code, last, len(errors)) == (1, f"{restored} restored, {3 - restored} skipped, 1 failed", 1)
    assert [line["output"] for line in lines(out / "manifest.jsonl", "failed")] == ["bad.png", "bad.png"]
    picture(5, 5, 3).pngsave(str(photos / "bad.png"))
    assert run(photos, "-o", out) == (0, "1 restored, 3 skipped, 0 failed", [])


def test_names_with_any_line_end(photos, tmp_path, run):
    for number, end in enumerate(("\u2028", "\x85", "\n", "\r", "\x0b")):
        (photos / "000.png").with_name(f"{number}{end}.png").write_bytes((photos / "000.png").read_bytes())
    assert run(photos, "-o", tmp_path / "out")[1] == "8 restored, 0 skipped, 0 failed"
    assert run(photos, "-o", tmp_path / "out")[1] == "0 restored, 8 skipped, 0 failed"


def test_a_manifest_cut_short_anywhere_is_gone_on_from(photos, tmp_path, run):
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run(photos, "-o", out)
    whole = manifest.read_bytes()
    settings = lines(manifest, "run")[0]["settings"]
    for length in range(len(whole) + 1):
        manifest.write_bytes(whole[:length])
        finished = [line for line in whole[:length].split(b"\n") if b'"done"' in line and line.endswith(b"}}")]
        known = Manifest(str(manifest), settings, "0").made_from
        assert sum(digest is not None for digest in known.values()) == len(finished)
    manifest.write_bytes(whole[:-10])
    assert run(photos, "-o", out) == (0, "1 restored, 2 skipped, 0 failed", [])
    text = manifest.read_text()
    broken = [line for line in text.split("\n")[:-1] if not line.endswith("}")]
    assert len(broken) == 1  # the cut line stays, the next begins on its own
    assert run(photos, "-o", out)[1] == "0 restored, 3 skipped, 0 failed"


def test_a_foreign_file_and_one_in_use_are_refused(photos, tmp_path, run):
    (tmp_path / "notes.txt").write_text("mine\n")
    code, _, errors = run(photos, "-o", tmp_path / "out", "--manifest", tmp_path / "notes.txt")
    assert (code, errors) == (2, [f"error: {tmp_path / 'notes.txt'}: is no manifest; give --manifest another file"])
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
    if sys.platform != "win32":
        place = str(tmp_path / "one.jsonl")
        with Manifest(place, {}, "0"), pytest.raises(ManifestError, match="in use by another run"):
            Manifest(place, {}, "0").__enter__()


def test_remote_places(photos, tmp_path, run, memory):
    memory.put(str(photos), "/in", recursive=True)
    memory.pipe("/in/bad.png", b"no picture")
    run(photos, "-o", tmp_path / "out")
    code, last, errors = run("memory://in", "-o", "memory://out")
    assert (code, last, len(errors)) == (1, "3 restored, 0 skipped, 1 failed", 1)
    assert errors[0].startswith("error: memory:///in/bad.png: ") or errors[0].startswith("error: memory://in/bad.png: ")
    local = outputs(tmp_path / "out")
    assert {name: memory.cat(f"/out/{name}") for name in local} == local
    assert len(memory.ls("/out")) == len(local) + 1  # the manifest
    memory.rm("/in/bad.png")
    assert run("memory://in", "-o", "memory://out") == (0, "0 restored, 3 skipped, 0 failed", [])
    memory.put(str(photos / "001.png"), "/in/000.png")
    assert run("memory://in", "-o", "memory://out")[1] == "1 restored, 2 skipped, 0 failed"
    assert memory.cat("/out/000.png") == local["001.png"]
    code, _, errors = run("memory://nowhere/a.png", "-o", tmp_path / "a.png")
    assert (code, len(errors)) == (1, 1)
    assert "nowhere/a.png: no such file" in errors[0]


@pytest.fixture
def s3(monkeypatch):
    """A store that speaks S3, with a bucket; its file system."""
    reason = "no S3 server here: pip install -c constraints.txt '.[dev]'"
    server = pytest.importorskip("moto.server", reason=reason).ThreadedMotoServer(port=0, verbose=False)
    pytest.importorskip("s3fs", reason=reason)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("bucket")
    yield fs
    server.stop()


def test_s3_to_s3_goes_on_after_a_kill(s3, tmp_path, weights, run):
    fill(tmp_path / "photos", 5)
    s3.put(str(tmp_path / "photos"), "bucket/in", recursive=True)
    run(tmp_path / "photos", "-o", tmp_path / "out")
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    names = ["s3://bucket/in", "-o", "s3://bucket/out", "--weights", str(weights)]
    command = [sys.executable, "-m", "mambairv2.cli", "restore", *names]

    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("s3://bucket/in/000.png")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, _, errors = run(*names[:3])
    assert (code, errors) == (0, [])
    assert run(*names[:3]) == (0, "0 restored, 5 skipped, 0 failed", [])
    s3.invalidate_cache()
    expected = outputs(tmp_path / "out")
    assert sorted(s3.ls("bucket/out", detail=False)) == sorted(
        f"bucket/out/{name}" for name in [*expected, "manifest.jsonl"]
    )
    assert {name: s3.cat_file(f"bucket/out/{name}") for name in expected} == expected


def test_killed_at_any_moment_it_goes_on_to_the_same_outputs(tmp_path, weights, run):
    photos, out, scratch = tmp_path / "photos", tmp_path / "out", tmp_path / "scratch"
    fill(photos, 6 * KILLS)
    scratch.mkdir()
    assert run(photos, "-o", tmp_path / "undisturbed")[0] == 0
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "mambairv2.cli",
        "restore",
        str(photos),
        "-o",
        str(out),
        "--weights",
        str(weights),
    ]

    def start():
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    chance, killed = random.Random(), 0
    for number in range(KILLS):
        process = start()
        for _ in range(number and chance.randrange(1, 4)):  # the first one before it has done much
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03 if number else 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed > 0
    process = start()
    said, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert said.splitlines()[-1].endswith(" skipped, 0 failed")
    assert outputs(out) == outputs(tmp_path / "undisturbed")
    done = [line["output"] for line in lines(out / "manifest.jsonl", "done")]
    assert sorted(done) == sorted(outputs(out))  # none twice
    assert os.listdir(scratch) == []
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(PREFIX)]


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
    module = pytest.importorskip("ray", reason="ray is not installed: pip install 'mambairv2[ray]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setenv("RAY_DISABLE_MEMORY_MONITOR", "1")
    yield module
    module.shutdown()


def restored_on_ray(tmp_path, network, done=lambda outcome: None):
    """Six files by two workers, and the same files here, to compare."""
    from mambairv2.batch.ray_engine import Setup, restore_on_ray

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
    restore_on_ray(Setup(network, "cpu", "auto", 16, False), jobs, Reading(), watcher, 2)
    assert [outcome.error for outcome in outcomes] == [None] * len(jobs)
    assert {outcome.job for outcome in outcomes} == set(jobs)
    for job in jobs:
        Restorer(StandIn(), "cpu").restore_file(job.source, here / Path(job.target).name)
    return outputs(out), outputs(here)


def test_a_worker_that_dies_is_replaced_and_its_file_done(tmp_path, ray):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    there, here = restored_on_ray(tmp_path, Deadly(tmp_path / "killed"))
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
        there, here = restored_on_ray(tmp_path, Slow(), lambda outcome: raylet.kill())
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert raylet.poll() == -signal.SIGKILL
    assert there == here
