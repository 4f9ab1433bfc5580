"""Running a module in a Python process of its own, so that a crash in a kernel ends that process only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_BESIDE_THE_PACKAGE = Path(__file__).parents[2]


def run_module(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` with the import path of this process; returns its exit status and output.

    environment: variables that are added. timeout: seconds. The process reads nothing from standard input.
    Raises OSError where no process can be started, subprocess.TimeoutExpired where it takes too long and is ended.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError("this program is not run by a Python that can be started again")
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        cwd=_BESIDE_THE_PACKAGE,  # which -m puts first: no file of the user's folder may hide a module
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def ended_badly(done: subprocess.CompletedProcess[str]) -> str:
    """Return why a process failed, in one line: the signal that ended it, or the last line that it wrote."""
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"the process ended with status {done.returncode}"
