import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mambairv2.cli.info import PURPOSES
from mambairv2.cli.main import app
from mambairv2.ops import backends
from mambairv2.ops.library import loader
from run_python import ENVIRONMENT
from small_weights import save_tiny
from stand_in import load, picture


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def photos(tmp_path):
    """A folder of two good files, one bad one, a subfolder with one more, and a text."""
    folder = tmp_path / "photos"
    (folder / "inner" / ".hidden").mkdir(parents=True)
    picture(9, 12, 3).pngsave(str(folder / "a.png"))
    picture(8, 10, 1, "uint16").tiffsave(str(folder / "b.TIF"))
    (folder / "bad.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    picture(5, 5, 3).jpegsave(str(folder / "inner" / "c.jpg"))
    picture(5, 5, 3).pngsave(str(folder / "inner" / ".hidden" / "d.png"))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_file_goes_beside_itself(photos, weights):
    result = run("restore", photos / "a.png", "--weights", weights)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{photos / 'a.png'}  12x9 -> 24x18  ")
    assert result.stdout.rstrip().endswith(f" s  {photos / 'a_x2.png'}")
    assert len(result.stdout.splitlines()) == 1
    assert (load(photos / "a_x2.png").width, load(photos / "a_x2.png").height) == (24, 18)


def test_what_a_long_file_takes_is_told_before_it_begins(photos, weights, monkeypatch):
    monkeypatch.setattr("mambairv2.cli.restore.view.LONG", 0)
    monkeypatch.setattr("mambairv2.restoration.forecast.MEASURED", 1)
    monkeypatch.setattr("mambairv2.ops.slow_note", lambda device: None)
    line = run("restore", photos / "a.png", "--weights", weights).stderr
    told = r"12x9 \(0.0 megapixels\), 1 tile of 12x9, about \d\.\d GiB of memory, about 0:00:0\d\n"
    assert re.fullmatch(re.escape(str(photos / "a.png")) + "  " + told, line)


def test_a_device_without_its_kernels_is_told(photos, weights, monkeypatch):
    monkeypatch.setattr("mambairv2.ops.library.loader.unavailable", lambda: "no compiler was there")
    result = run("restore", photos / "a.png", "--weights", weights)
    assert result.exit_code == 0
    assert result.stderr == "note: plain torch runs, several times slower: no compiler was there\n"


def test_a_tile_larger_than_memory_is_told_before_it_begins(photos, weights, monkeypatch):
    monkeypatch.setattr("mambairv2.restoration.forecast.free_memory", lambda device: 100)
    monkeypatch.setattr("mambairv2.restoration.forecast.used_memory", lambda: 2**30)
    result = run("restore", photos / "a.png", "--weights", weights, "--whole")
    assert result.exit_code == 0
    assert result.stderr.endswith("about 1.0 GiB of memory where 1.0 GiB are free: try a smaller --tile\n")


def test_a_folder_with_a_bad_file_goes_on_and_says_so(photos, weights):
    result = run("restore", photos, "--weights", weights, "--recursive")
    assert result.exit_code == 1
    assert files(photos.with_name("photos_x2")) == ["a.png", "b.TIF", "inner/c.jpg", "manifest.jsonl"]
    assert result.stderr == (
        f"error: {photos / 'bad.jpg'}: is not an image, or too damaged to tell; check where it came from\n"
    )
    assert result.stdout.splitlines()[-1] == "3 restored, 0 skipped, 1 failed"
    assert load(photos.with_name("photos_x2") / "b.TIF").format == "ushort"


def test_patterns_formats_and_names(photos, weights, tmp_path):
    out = tmp_path / "out"
    result = run(
        "restore", photos / "**" / "*.[pj][np]g", photos / "nothing.png", "-o", out, "--weights", weights,
        "--format", "webp", "--suffix", "_big", "--quality", 100,
    )  # fmt: skip
    assert result.exit_code == 1  # bad.jpg and nothing.png
    assert "nothing.png: no such file" in result.stderr
    assert files(out) == ["a_big.webp", "inner/c_big.webp", "manifest.jsonl"]


def test_existing_outputs_are_kept_unless_asked(photos, weights, tmp_path):
    arguments = ("restore", photos / "a.png", "-o", tmp_path / "out.png", "--weights", weights)
    assert run(*arguments).exit_code == 0
    first = (tmp_path / "out.png").read_bytes()
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "already exists; pass --overwrite or --skip-existing" in refused.stderr
    assert run(*arguments, "--skip-existing").exit_code == 0
    (tmp_path / "out.png").write_bytes(b"old")
    assert run(*arguments, "--overwrite").exit_code == 0
    assert (tmp_path / "out.png").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "nowhere.pth"], "no such weights"),
        (["--scale", "5"], "sr comes at scale 2, 3, 4, got 5"),
        (["--weights", "{weights}", "--scale", "3"], "enlarges by 2, not by --scale 3"),
        (["--weights", "{weights}", "--tile", "100"], "tile must be a multiple of 16"),
        (["--weights", "{weights}", "--overlap", "7"], "overlap must be a multiple of 16"),
        (["--weights", "{weights}", "--device", "cuda:77"], "no device cuda:77 here"),
        (["--weights", "{weights}", "--format", "bmp"], "cannot write .bmp; choose one of .png"),
        (["--weights", "{weights}", "--quality", "0"], "quality"),
        (["--weights", "{weights}", "--suffix", ""], "would replace an input"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(photos, weights, arguments, message):
    before = files(photos.parent)
    result = run("restore", photos / "a.png", *[text.format(weights=weights) for text in arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert files(photos.parent) == before


def test_an_empty_folder_is_an_error(tmp_path, weights):
    result = run("restore", tmp_path, "--weights", weights)
    assert result.exit_code == 2
    assert "no images found" in result.stderr


def test_info_says_what_is_there():
    result = run("info")
    assert result.exit_code == 0
    for word in ("mambairv2", "python", "torch", "threads", "libvips", "device", "weights", "reference"):
        assert word in result.stdout
    for name, missing in backends().items():
        state = f"missing, {missing}" if missing else "available"
        isa = f" ({loader.isa()})" if name == "native" and not missing else ""
        assert f"backend    {name}: {state}{isa}; {PURPOSES[name]}\n" in result.stdout


def test_info_says_why_native_is_missing(monkeypatch):
    monkeypatch.setattr("mambairv2.ops.library.loader.unavailable", lambda: "no compiler was there")
    assert "backend    native: missing, no compiler was there; " in run("info").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_midway_leaves_no_output(photos, weights, tmp_path, number, code):
    """Stopped while the encoder has a temporary file open."""
    script = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from mambairv2.files import atomic
from mambairv2.cli.main import app
def stall(*_):
    print("writing", flush=True)
    time.sleep(60)
atomic.os.fsync = stall
app(sys.argv[1:])
"""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "restore", photos / "a.png", "-o", out, "--weights", weights],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    left = files(out)
    assert left == [] if number != signal.SIGKILL else all(name.startswith(".mambairv2-") for name in left)


def test_entry_point_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "mambairv2.cli", "restore"], env=ENVIRONMENT, capture_output=True, text=True,
        cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 2
