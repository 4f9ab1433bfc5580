"""The threads that the native kernels run on: torch's OpenMP pool, or one of their own where there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mambairv2.ops.library import loader

pytestmark = [
    pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable())),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc, and forks"),
]

SCAN = """
import os, threading
import torch
from mambairv2.ops.routing.prompts import neighbour_order
from mambairv2.ops.scan.selective_scan import selective_scan

torch.manual_seed(0)
u, delta, A, D = torch.randn(3, 700, 40), torch.randn(3, 700, 40), -torch.rand(40, 8), torch.randn(40)
B, C = torch.randn(3, 700, 8), torch.randn(3, 700, 8)


def scan(threads):
    torch.set_num_threads(threads)
    return selective_scan(u, delta, A, B, C, D, D, backend="native")[0]


def tasks():
    return len(os.listdir("/proc/self/task"))


alone = scan(1)
"""

SAME_ON_ANY_NUMBER = """
for threads in (2, 3, 4, 7, 16, 2):
    assert torch.equal(scan(threads), alone), threads
"""

EVERY_KERNEL = """
from mambairv2.ops.self_check.cases import cases
from mambairv2.ops.self_check.comparison import _tensors


def results(threads):
    torch.set_num_threads(threads)
    chosen = [case for case in cases() if "native" in case.backends]
    return [_tensors(case, "native", {k: v.clone() for k, v in case.values.items()}) for case in chosen]


truth = results(1)
for threads in (2, 3, 4, 7, 16):
    for found, expected in zip(results(threads), truth, strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected), (threads, list(expected))
"""

THREADS_STAY = """
scan(4)
before = tasks()
for _ in range(20):
    scan(4)
assert tasks() == before, (before, tasks())
"""

AFTER_A_FORK = """
scan(3)
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(scan(3), alone) and torch.equal(scan(2), alone) else 1)
    assert os.waitpid(child, 0)[1] == 0
assert torch.equal(scan(3), alone)
"""

SEVERAL_CALLERS = """
wrong = []


def check():
    for _ in range(10):
        if not torch.equal(scan(3), alone):
            wrong.append(1)


callers = [threading.Thread(target=check) for _ in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
assert not wrong
"""

GOES_ON_AFTER_A_FAILURE = """
torch.set_num_threads(3)
label = torch.zeros(9, 5, dtype=torch.int64)
for _ in range(5):
    try:
        neighbour_order(label, 1 << 55, backend="native")
    except MemoryError:
        pass
    else:
        raise AssertionError("no error")
    assert torch.equal(scan(3), alone)
"""

NO_MORE_THREADS = """
import resource
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (6 << 20)  # less than the stack of one thread
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
y = scan(4)
torch.set_num_threads(1)  # torch's own loops would ask OpenMP for threads
assert torch.equal(y, alone)
"""


def run(script: str, **environment: str) -> None:
    settings = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **environment}
    command = [sys.executable, "-c", SCAN + script]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)


sanitized = pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer ends the process")
pools = pytest.mark.parametrize("own", ["", "1"], ids=["openmp", "own"])


@pools
@pytest.mark.parametrize("script", [SAME_ON_ANY_NUMBER, EVERY_KERNEL, THREADS_STAY, SEVERAL_CALLERS])
def test_pool(script, own):
    run(script, MAMBAIRV2_OWN_POOL=own)


@pools
@sanitized
def test_pool_after_a_failure(own):
    run(GOES_ON_AFTER_A_FAILURE, MAMBAIRV2_OWN_POOL=own)


def test_own_pool_is_made_again_after_a_fork():
    run(AFTER_A_FORK, MAMBAIRV2_OWN_POOL="1")


@pools
@sanitized
def test_where_no_thread_can_be_made_one_does_all(own):
    """OpenMP itself would end the process."""
    run(NO_MORE_THREADS, MAMBAIRV2_OWN_POOL=own)
