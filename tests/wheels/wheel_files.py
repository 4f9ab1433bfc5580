"""Where the wheels, the kernels and their names are, and programs that run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = os.environ.get("MAMBAIRV2_WHEELS", "")
NEEDS_WHEELS = pytest.mark.skipif(
    not FOLDER, reason="MAMBAIRV2_WHEELS names no folder of wheels; say `make test-wheels`"
)
INSTRUCTION_SETS = ("portable", "avx2", "avx512")

sys.path.insert(0, str(ROOT / "tools" / "wheels"))
from targets import TARGETS, Target  # noqa: E402

BY_NAME = {target.name: target for target in TARGETS}


def kernels(table: str, *dtypes: str) -> set[str]:
    """Return the names of the kernels that a table lists, for some dtypes."""
    listed = re.findall(r"^KERNEL\((\w+),", (ROOT / "csrc/abi" / table).read_text(), re.MULTILINE)
    return {f"mambairv2_{name}_{dtype}" for name in listed for dtype in dtypes}


REPLAYED = kernels("kernels.def", "f32", "f64")
EXPORTED = REPLAYED | kernels("bfloat16.def", "bf16")
EXPORTED |= {f"mambairv2_{name}" for name in ("layout", "isa", "has_bfloat16", "width_f32", "width_f64")}
"""The functions of every library; those for products of bfloat16 are there, and fail, where a processor has none."""


def wheel_of(target: Target) -> Path:
    """Return the one wheel of a platform."""
    found = list(Path(FOLDER).glob(f"mambairv2-*-py3-none-{'.'.join(sorted(target.tags))}.whl"))
    assert len(found) == 1, f"{target.name}: {found}"
    return found[0]


def library_of(target: Target, folder: Path) -> Path:
    """Take the kernels out of the wheel of a platform."""
    with zipfile.ZipFile(wheel_of(target)) as wheel:
        return Path(wheel.extract(f"mambairv2/{target.library}", folder))


def record(path: Path, isa: str) -> str:
    """Record the cases of an instruction set on this machine; return the set that it has."""
    environment = {**os.environ, "MAMBAIRV2_ISA": isa, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(HERE / "record.py"), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def compile_replay(compiler: list[str], to: Path) -> Path:
    """Compile the program that replays cases."""
    command = [*compiler, "-std=c++17", "-O1", f"-I{ROOT / 'csrc'}", str(HERE / "replay.cpp"), "-o", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to


def replay(command: list[str], isa: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the replay with the kernels of an instruction set."""
    given = {**os.environ, "MAMBAIRV2_ISA": isa, **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=1200)


def program(name: str, remedy: str) -> str:
    """Return the path of a program, or skip with what to install."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}; {remedy}")
    return found
