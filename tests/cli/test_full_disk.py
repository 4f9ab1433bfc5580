"""A disk that is really full: a tmpfs of a few MiB, filled to its last byte; where none can be mounted, a limit on the
size of files, which the system enforces as well."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.files.atomic import write_whole
from mambairv2.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from mambairv2.training.data.image_cache import open_cache
from mambairv2.weights.load import load_model

RECIPE = """
seed = 5
[model.overrides]
embed_dim = 12
d_state = 2
depths = [1]
num_heads = [2]
num_tokens = 4
inner_rank = 3
window_size = 8
[data]
patch = 8
[train]
iterations = 150
total_batch = 2
lr = 1e-3
[keep]
log_every = 1
checkpoint_every = 5
validate_every = 0
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of 3 MiB, in a namespace that ends with the test."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = f"mount -t tmpfs -o size=3m tmpfs '{place}' && echo mounted && exec cat"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
    try:
        holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        pytest.skip("no `unshare` here to mount a small disk with")
    if holder.stdout.readline() != "mounted\n":
        pytest.skip(f"no small disk can be mounted here: {holder.communicate()[1].strip()}")
    yield Path(f"/proc/{holder.pid}/root{place}")
    holder.communicate("")


@pytest.fixture
def images(tmp_path):
    y, x = np.mgrid[:40, :48][..., None]
    wave = np.sin(x / 3 + np.arange(3)) * np.cos(y / 5)
    (tmp_path / "images").mkdir()
    pixels = np.where(wave > 0.1, 220, 40).astype(np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / "images" / "wave.png"))
    return tmp_path / "images"


def fill(disk):
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def empty(disk):
    (disk / "filler").unlink()


def command(folder, images, *more, iterations=150):
    (images.parent / "tiny.toml").write_text(RECIPE.replace("150", str(iterations)))
    call = [sys.executable, "-m", "mambairv2.cli", "train", str(images.parent / "tiny.toml"), "--device", "cpu"]
    return [*call, "--runs", str(folder), "--data", str(images), *more]


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)


def wait_until(ready, process):
    for _ in range(1200):
        if ready():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the run did not get that far")


def state_of(folder):
    run = folder / "tiny"
    content = load_checkpoint(run)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return content, [(line["iteration"], line["loss"]) for line in lines], load_model(run / "ema.safetensors")


def assert_same(folder, other):
    (content, lines, averaged), (expected, expected_lines, expected_averaged) = state_of(folder), state_of(other)
    assert lines == expected_lines
    for part in ("model", "ema"):
        assert all(torch.equal(content[part][name], tensor) for name, tensor in expected[part].items())
    pairs = zip(averaged.parameters(), expected_averaged.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.slow
def test_a_run_on_a_disk_that_fills_twice_ends_as_if_it_never_had(disk, images, tmp_path):
    assert run(command(tmp_path / "whole", images)).returncode == 0
    log = disk / "runs" / "tiny" / "log.jsonl"
    said = (tmp_path / "said").open("w+")

    def text():
        return Path(said.name).read_text()

    process = subprocess.Popen(command(disk / "runs", images), stderr=said, env=ENVIRONMENT)
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 10, process)
    fill(disk)
    wait_until(lambda: "no checkpoint written, the earlier one stays" in text(), process)
    wait_until(lambda: f"could not write {log}: No space left on device" in text(), process)
    empty(disk)
    freed = len(log.read_text())
    wait_until(lambda: len(log.read_text()) > freed, process)
    numbers = [json.loads(line)["iteration"] for line in log.read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))  # the lines that had no room are there
    fill(disk)
    assert process.wait(120) == 1
    last = text().strip().splitlines()[-1]
    assert last.startswith("error: iteration 150: no checkpoint written, the earlier one stays: [Errno 28]")
    assert last.endswith("free some space, and the same command goes on from there")
    empty(disk)
    again = run(command(disk / "runs", images))
    assert again.returncode == 0, again.stderr
    assert "resuming at iteration" in again.stderr
    assert_same(disk / "runs", tmp_path / "whole")
    assert not list((disk / "runs" / "tiny").glob(".*"))


def test_decoded_images_that_do_not_fit_are_told_and_removed(disk, images):
    fill(disk)
    with pytest.raises(OSError, match=r"could not be written into .*cache: No space left on device; free some space"):
        open_cache([images], 2, 3, cache_dir=disk / "cache")
    assert not (disk / "cache").exists() or not list((disk / "cache").iterdir())
    empty(disk)
    assert len(open_cache([images], 2, 3, cache_dir=disk / "cache").entries) == 1


def test_an_older_checkpoint_gives_way_to_a_new_one(disk):
    content = {"numbers": torch.zeros(250_000)}  # a million bytes: two fit, three do not
    for iteration in range(4):
        save_checkpoint(disk, iteration, {**content, "iteration": iteration}, keep=2)
        assert load_checkpoint(disk)["iteration"] == iteration
    assert [path.name for path in checkpoints(disk)] == ["checkpoint-000000003.pt", "checkpoint-000000002.pt"]
    (disk / "file").write_text("old")
    fill(disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write_whole(disk / "file", bytes(2**20))
    assert (disk / "file").read_text() == "old"
    assert sorted(path.name for path in disk.glob(".*")) == []


LIMITED = """
import resource, sys
from typer.testing import CliRunner
from mambairv2.cli.main import app
for size in (1000, 10_000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    result = CliRunner().invoke(app, sys.argv[1:])
    print(result.exit_code, result.stderr.strip().splitlines()[-1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_files_that_may_not_grow_are_told_and_the_run_goes_on_without_the_limit(images, tmp_path):
    done = run([sys.executable, "-c", LIMITED, *command(tmp_path / "runs", images, iterations=4)[3:]])
    assert done.returncode == 0, done.stderr
    cache, checkpoint, free = done.stdout.strip().splitlines()
    assert cache.startswith("1 error: the decoded images could not be written")
    assert checkpoint.startswith("1 error: iteration 0: no checkpoint written")
    assert free.startswith("0 ")
    assert [at for at, _ in state_of(tmp_path / "runs")[1]] == [1, 2, 3, 4]


LINES = """
import resource, sys
from pathlib import Path
from mambairv2.training.log import Reporter
reporter = Reporter(Path(sys.argv[1]), 9)
for iteration in range(9):
    size = 100 if iteration < 6 else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    reporter.write({"iteration": iteration, "loss": 0.125})
    print(len((Path(sys.argv[1]) / "log.jsonl").read_text()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_lines_of_the_log_wait_for_room(tmp_path):
    done = run([sys.executable, "-c", LINES, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    lengths = [int(length) for length in done.stdout.split()]
    assert lengths == [32, 64, *[96] * 4, 32 * 7, 32 * 8, 32 * 9]  # whole lines at all times
    assert done.stderr.count("could not write") == 3
    numbers = [json.loads(line)["iteration"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert numbers == list(range(9))
