"""The whole command line over a corpus of files, good and bad, with a network that only enlarges and blurs."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import pyvips
from typer.testing import CliRunner

import corpus.encoders
from mambairv2.cli.main import app
from mambairv2.weights.packaged import PRETRAINED
from stand_in import StandIn, load

SCALE = 2


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setattr("mambairv2.restoration.networks.load_model", lambda *_, **__: StandIn(SCALE))


def restore(*arguments):
    """Run the command line; returns its exit code and the lines of stdout and stderr."""
    done = CliRunner().invoke(app, ["restore", *map(str, arguments), "--tile", "64", "--overlap", "16"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return folder, corpus.good(folder)


def output_name(one):
    return Path(one.name).stem + (one.output or Path(one.name).suffix)


def wrong_with(one, path, line):
    """What is wrong with an output, in words; empty when it is as it must be."""
    image = load(path) if one.pages == 1 else pyvips.Image.new_from_buffer(path.read_bytes(), "", n=-1)
    height, width, channels = one.pixels.shape
    peak = {"uchar": 255, "ushort": 65535, "float": 1}[image.format]
    found = image.numpy().reshape(image.height, image.width, -1) / peak
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    problems = []
    if found.shape != (height * SCALE, width * SCALE, channels):
        return [f"shape {found.shape}, not {(height * SCALE, width * SCALE, channels)}"]
    if image.format != one.depth:
        problems.append(f"samples {image.format}, not {one.depth}")
    if pages != one.pages:
        problems.append(f"{pages} pages, not {one.pages}")
    small = found.reshape(height, SCALE, width, SCALE, channels).mean((1, 3))
    seen = (one.pixels[..., -1:] > 0) if channels in (2, 4) else np.ones_like(one.pixels[..., :1])
    colours = channels - 1 if channels in (2, 4) else channels
    off = np.abs((small - one.pixels)[..., :colours] * seen).mean()
    if off > one.off + 0.02:
        problems.append(f"pixels off by {off:.3f}")
    if colours < channels and np.abs((small - one.pixels)[..., -1]).mean() > one.off + 0.02:
        problems.append("alpha is off")
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
    if one.profile is not None and profile != one.profile:
        problems.append("profile lost" if profile is None else "another profile")
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        problems.append(f"still tagged with orientation {image.get('orientation')}")
    if one.resolution is not None and abs(image.xres - one.resolution) > 0.01:
        problems.append(f"{image.xres} pixels per mm, not {one.resolution}")
    if f"{width}x{height // one.pages} -> " not in line:
        problems.append(f"line does not tell the size: {line}")
    if one.note not in line:
        problems.append(f"line does not tell {one.note!r}: {line}")
    return problems


def test_every_good_file_keeps_its_size_depth_channels_profile_and_orientation(good_files, tmp_path):
    folder, expected = good_files
    assert len(expected) >= 60
    problems, batches = {}, {}
    for one in expected:  # names that meet in one output folder go into different ones
        for number in range(9):
            if output_name(one) not in batches.setdefault(number, {}):
                batches[number][output_name(one)] = one
                break
    for number, batch in batches.items():
        if not batch:
            continue
        out = tmp_path / str(number)
        code, lines, errors = restore(*(folder / one.name for one in batch.values()), "-o", f"{out}/")
        problems |= {line: ["refused"] for line in errors}
        for name, one in batch.items():
            line = next((line for line in lines if line.startswith(f"{folder / one.name}  ")), "")
            if (out / name).exists():
                problems[one.name] = wrong_with(one, out / name, line)
        assert {path.name for path in out.iterdir()} <= {*batch, "manifest.jsonl"}
        assert code == (1 if errors else 0)
    assert {name: what for name, what in problems.items() if what} == {}


@contextmanager
def nobody():
    """Without the rights of root. What is imported, or read, in this context must be readable by anybody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="module")
def bad_files():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder, corpus.bad(folder)


@pytest.fixture
def anywhere(bad_files, monkeypatch):
    """Let the clone lie where `nobody` cannot read: weights are copied out of it, modules are imported beforehand.

    Modules that a run imports late are imported by a run that restores and by one that cannot write.
    """
    folder, _ = bad_files
    packaged = folder / "packaged"
    packaged.mkdir(exist_ok=True)
    shutil.copy(PRETRAINED / "sr-x2.safetensors", packaged)
    monkeypatch.setattr("mambairv2.weights.packaged.PRETRAINED", packaged)
    corpus.encoders.vips(corpus.encoders.eight(corpus.encoders.scene())).pngsave(str(packaged / "a.png"))
    assert restore(packaged / "a.png", "--overwrite")[0] == 0
    assert restore(packaged / "a.png", "-o", f"{packaged}/a.png/no folder/")[0] == 1


def test_every_bad_file_gets_one_line_that_names_it_and_the_remedy_and_no_output(bad_files, anywhere):
    folder, expected = bad_files
    assert len(expected) >= 40
    problems = {}
    for one in expected:
        out = folder / "out"
        with nobody() if one.privileged else contextmanager(lambda: iter([None]))():
            code, lines, errors = restore(folder / one.name, "-o", f"{out}/", *one.options)
        start = f"error: {folder / one.name}: "
        if code != 1 or lines or len(errors) != 1 or not errors[0].startswith(start):
            problems[one.name] = (code, lines, errors)
        elif one.says not in errors[0] or one.remedy not in errors[0] or "; " not in errors[0]:
            problems[one.name] = errors[0]
        if out.exists() and os.listdir(out):
            problems[one.name + " left"] = os.listdir(out)
            for left in out.iterdir():
                left.unlink()
    assert problems == {}


def test_a_folder_that_cannot_be_written_is_told_and_another_one_taken(bad_files, anywhere):
    folder, _ = bad_files
    locked, out = folder / "locked", folder / "elsewhere"
    locked.mkdir()
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    corpus.encoders.vips(corpus.encoders.eight(corpus.encoders.scene())).pngsave(str(locked / "a.png"))
    locked.chmod(0o555)
    with nobody():
        code, _, errors = restore(locked / "a.png")
        inside, _, also = restore(locked / "a.png", "-o", f"{locked}/new/")
        elsewhere, _, _ = restore(locked / "a.png", "-o", f"{out}/")
    said = "cannot be written: permission denied; check its permissions, or choose another folder with -o"
    assert (code, errors) == (1, [f"error: {locked / 'a_x2.png'}: {said}"])
    assert (inside, also) == (1, [f"error: {locked / 'new/a.png'}: {said}"])
    assert (elsewhere, os.listdir(locked), os.listdir(out)) == (0, ["a.png"], ["a.png"])


NO_ROOM = """
import resource, sys
from mambairv2.images import canvas
from mambairv2.restoration.restorer import Restorer
from stand_in import StandIn
class Never(StandIn):
    def forward(self, x):
        raise AssertionError("work was begun")
canvas.IN_MEMORY = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    Restorer(StandIn() if canvas.IN_MEMORY else Never(), "cpu").restore_file(sys.argv[1], sys.argv[2])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_a_full_disk_is_told_and_before_the_work_if_it_can_be(tmp_path, in_memory):
    """With a limit on the size of files, which real processes meet as they meet a full disk."""
    noise = np.random.default_rng(0).integers(0, 255, (150, 150, 3)).astype(np.uint8)
    corpus.encoders.vips(noise).pngsave(str(tmp_path / "a.png"))
    target = tmp_path / "out" / "b.png"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path / "a.png"), str(target), str(in_memory)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.startswith(f"{target}: cannot be written: file too large; raise the limit"), done
    assert os.listdir(target.parent) == []
