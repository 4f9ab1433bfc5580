"""The wheel of this machine in a new environment without a compiler: installed, checked, and used."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from wheel_files import BY_NAME, NEEDS_WHEELS, ROOT, wheel_of

HERE = f"{sys.platform}-{platform.machine()}"
TARGETS = {"linux-x86_64": "linux-x86_64", "linux-aarch64": "linux-aarch64", "darwin-arm64": "macos-arm64"}
TARGETS |= {"darwin-x86_64": "macos-x86_64", "win32-AMD64": "windows-x86_64"}
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
pytestmark = [NEEDS_WHEELS, pytest.mark.skipif(HERE not in TARGETS, reason=f"there is no wheel for {HERE}")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Install the wheel with what it needs; return how to run a command there, no other program in sight."""
    folder = tmp_path_factory.mktemp("clean")
    programs = folder / "venv" / SCRIPTS
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    hidden = ("PYTHONPATH", "MAMBAIRV2_LIBRARY", "MAMBAIRV2_NO_NATIVE", "CXX", "CC")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = str(programs)  # no compiler

    def command(*words):
        program = str(programs / words[0])
        done = subprocess.run([program, *words[1:]], env=environment, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    wheel = wheel_of(BY_NAME[TARGETS[HERE]])
    command("python", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel))
    return command


def test_the_kernels_are_there(run):
    code = "from mambairv2.ops.library import loader; print(loader.unavailable(), loader._find())"
    reason, path = run("python", "-c", code).split()
    assert reason == "None"
    assert "site-packages" in path


def test_every_operation_passes_its_check(run):
    assert "native" in run("mambairv2", "check")


def test_a_photograph_is_restored(run, tmp_path):
    report = run("mambairv2", "restore", str(ROOT / "examples/coffee.png"), "-o", str(tmp_path / "large.png"))
    assert (tmp_path / "large.png").stat().st_size > 10_000
    assert "plain PyTorch" not in report
