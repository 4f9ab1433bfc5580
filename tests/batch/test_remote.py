"""Remote places, and a store that speaks S3."""

import os
import signal
import subprocess
import sys

import fsspec
import pytest
from folder_runs import fill, outputs


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


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
