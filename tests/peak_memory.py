"""The peak of the memory of a process, which stays once it was reached: each is measured in a process of its own."""

import sys

import pytest

from run_python import run_python

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PEAK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
"""


def in_process(script, *arguments, **environment):
    """Run a script in a process of its own; returns what it prints, by line."""
    return run_python(PEAK + script, *arguments, **{"VIPS_CONCURRENCY": "1", **environment}).splitlines()
