"""The kernels of the wheels compute what was recorded here: on this processor, on ARM by qemu, on Windows by Wine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from wheel_files import BY_NAME, INSTRUCTION_SETS, NEEDS_WHEELS, REPLAYED, compile_replay, library_of, record, replay

QEMU = "Debian, Ubuntu: apt install qemu-user libc6-arm64-cross"
ARM = Path("/usr/aarch64-linux-gnu")
WINE = "Debian, Ubuntu: apt install wine64"
pytestmark = NEEDS_WHEELS


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Recorded cases of each instruction set that this machine has."""
    folder = tmp_path_factory.mktemp("cases")
    return {isa: folder / isa for isa in INSTRUCTION_SETS if record(folder / isa, isa) == isa}


@pytest.fixture(scope="module")
def compile_for(tmp_path_factory):
    """Compile the replay for a platform."""
    folder = tmp_path_factory.mktemp("replay")
    ziglang = pytest.importorskip("ziglang", reason="pip install -r tools/wheels/requirements.txt")
    zig = f"{ziglang.__path__[0]}/zig"

    def compiled(target):
        return compile_replay([zig, "c++", "-target", target.zig, "-s"], folder / f"{target.name}.exe")

    return compiled


def agrees(runner, isa, cases, compiled, library, **environment):
    """Replay the cases of an instruction set: every kernel is among them."""
    if isa not in cases:
        pytest.skip(f"this processor has no {isa}")
    done = replay([*runner, str(compiled), str(library), str(cases[isa])], isa, **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (f"instruction set: {isa}", "all kernels agree")
    assert sorted(f"mambairv2_{line.split()[0]}" for line in lines[1:-1]) == sorted(REPLAYED)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_linux_kernels_compute_what_was_recorded(isa, cases, compile_for, tmp_path):
    target = BY_NAME["linux-x86_64"]
    agrees([], isa, cases, compile_for(target), library_of(target, tmp_path))


def test_arm_kernels_compute_what_was_recorded(cases, compile_for, tmp_path):
    target, qemu = BY_NAME["linux-aarch64"], shutil.which("qemu-aarch64")
    if not qemu or not ARM.is_dir():
        pytest.skip(f"no qemu-aarch64, or no {ARM}; {QEMU}")
    agrees([qemu, "-L", str(ARM)], "portable", cases, compile_for(target), library_of(target, tmp_path))


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """Wine with a system folder of its own."""
    found = shutil.which("wine64") or shutil.which("wine") or shutil.which("/usr/lib/wine/wine64")
    if not found:
        pytest.skip(f"no wine64; {WINE}")
    return found, str(tmp_path_factory.mktemp("wine"))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_windows_kernels_compute_what_was_recorded(isa, cases, compile_for, tmp_path, wine):
    target, settings = BY_NAME["windows-x86_64"], {"WINEPREFIX": wine[1], "WINEDEBUG": "-all"}
    agrees([wine[0]], isa, cases, compile_for(target), library_of(target, tmp_path), **settings)
