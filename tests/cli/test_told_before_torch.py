"""Mistakes that can be told from names and options alone are told before torch, which takes seconds to load."""

import subprocess
import sys

import pytest

from run_python import ENVIRONMENT
from small_weights import save_tiny
from stand_in import picture

SCRIPT = """
import sys
from mambairv2.cli.main import app
try:
    app(sys.argv[1:])
finally:
    loaded = [name for name in ("torch", "pyvips", "numpy", "fsspec") if name in sys.modules]
    print("loaded:", *loaded, file=sys.stderr)
"""


def run(folder, *arguments):
    """Run the command line in a folder; returns the exit code, its errors, and which slow libraries it loaded."""
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True)
    errors, _, loaded = done.stderr.rpartition("loaded:")
    told = [line for line in errors.splitlines(keepends=True) if not line.startswith("note: ")]  # on missing kernels
    return done.returncode, "".join(told), loaded.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    picture(9, 12, 3).pngsave(str(folder / "a.png"))
    picture(9, 12, 3).pngsave(str(folder / "b.png"))
    (folder / "there.png").write_bytes(b"something else")
    (folder / "a_x2.png").write_bytes(b"something else")
    (folder / "empty").mkdir()
    (folder / "text.safetensors").write_bytes(b"hello, this is a text")
    save_tiny(folder / "tiny.safetensors")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.png"], 1, "error: nothing.png: no such file or directory; check the name\n"),
        (["nothing.png", "nor/this.png"], 1, "error: nor/this.png: no such file or directory; check the name\n"),
        (["nothing.png", "--engine", "local", "--weights", "tiny.safetensors"], 1, "error: nothing.png: no such file"),
        (["a.png"], 2, "error: a_x2.png: already exists; pass --overwrite or --skip-existing\n"),
        (["a.png", "-o", "there.png"], 2, "error: there.png: already exists; pass --overwrite or --skip-existing\n"),
        (["a.png", "-o", "new.bmp"], 2, "error: new.bmp: cannot write .bmp; choose one of .png"),
        (["a.png", "--format", "bmp"], 2, "error: cannot write .bmp; choose one of .png"),
        (["a.png", "b.png", "-o", "one.png"], 2, "error: one.png: is one file for several inputs; give a folder\n"),
        (["a.png", "-o", "a.png"], 2, "error: a.png: would replace an input"),
        (["empty"], 2, "error: empty: no images found; add --recursive to look into subfolders\n"),
        (["empty", "-r"], 2, "error: empty: no images found\n"),
        (["no*.png"], 1, "error: no*.png: no file matches; check the pattern\n"),
        (["a.png", "--tile", "64", "--whole"], 2, "error: --tile and --whole contradict each other; give one of them"),
        (["a.png", "--weights", "sr-x9"], 2, "error: sr-x9: no such weights; give a file, or one of"),
        (["a.png", "--weights", "no/such.pth"], 2, "error: no/such.pth: no such weights"),
        (["a.png", "--weights", "text.safetensors"], 2, "error: text.safetensors: is not a whole safetensors file"),
        (["a.png", "--weights", "tiny.safetensors", "--scale", "3"], 2, "enlarges by 2, not by --scale 3\n"),
        (["a.png", "--scale", "5"], 2, "error: sr comes at scale 2, 3, 4, got 5\n"),
        (["a.png", "--task", "jpeg", "--scale", "2"], 2, "error: jpeg comes at scale 1, got 2\n"),
        (["a.png", "--tile", "100"], 2, "error: tile must be a multiple of 16 above the overlap of 16, got 100\n"),
        (["a.png", "--overlap", "7"], 2, "error: overlap must be a multiple of 16, got 7\n"),
        (["a.png", "--device", "gpu"], 2, "unknown device gpu; choose auto, cpu, cuda or cuda:1"),
        (["a.png", "--quality", "101"], 2, "less than or equal to 100"),
        (["a.png", "--sharpen"], 2, "No such option"),
    ],
)
def test_a_trivial_mistake_is_told_before_torch(folder, arguments, code, message):
    before = sorted(folder.rglob("*"))
    found, errors, loaded = run(folder, "restore", *arguments)
    assert found == code
    assert " ".join(message.split()) in " ".join(errors.replace("│", "").split())
    assert loaded == []
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["restore", "--help"], ["evaluate", "--help"], []])
def test_help_and_version_load_no_slow_library(folder, arguments):
    code, _, loaded = run(folder, *arguments)
    assert code == (0 if arguments else 2)
    assert loaded == []


def test_a_missing_file_among_others_is_told_first_and_the_others_are_restored(folder, tmp_path):
    command = ("restore", "a.png", "nothing.png", "b.png", "-o", tmp_path / "out", "--weights", "tiny.safetensors")
    code, errors, loaded = run(folder, *command)
    assert (code, errors) == (1, "error: nothing.png: no such file or directory; check the name\n")
    assert "torch" in loaded
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "manifest.jsonl"]
    code, errors, loaded = run(folder, *command[:-2], "--weights", "tiny.safetensors", "--skip-existing")
    assert (code, loaded) == (1, [])  # nothing is left to restore
