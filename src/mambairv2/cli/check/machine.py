"""What there is to check on this machine, and running it."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict

import torch

from mambairv2.cli.check.apart import Job
from mambairv2.ops import backends, triton_support, triton_verdict
from mambairv2.ops.library import loader
from mambairv2.ops.own_process import ended_badly, run_module
from mambairv2.ops.self_check.comparison import Result, verdict

INSTRUCTION_SETS = ("avx512", "avx2", "portable")
"""Best first; a processor that has one has those behind it."""
PLAIN = ("chunked", "sdpa", "torch")
EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}
"""Products of float32 as such, and not of fewer bits."""
TIMEOUT = 900.0


def jobs() -> list[Job]:
    """Return all that this machine offers."""
    return [Job(("reference", *PLAIN), "cpu"), *_native_jobs(), *_gpu_jobs()]


def missing() -> dict[str, str]:
    """Return the backends that are not here, and why."""
    return {name: why for name, why in backends().items() if why is not None}


def run(job: Job) -> list[Result]:
    """Run plain torch on the CPU here, all else in a process of its own, which a crash ends alone."""
    if job.device == "cpu" and not job.environment:
        return job.run()
    try:
        done = run_module(
            "mambairv2.cli.check.apart", json.dumps(asdict(job)), environment=job.environment, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return [_broken(job, f"it did not end within {TIMEOUT:.0f} s")]
    try:
        return [Result(**found) for found in json.loads(done.stdout.strip().splitlines()[-1])]
    except (ValueError, IndexError):
        return [_broken(job, f"it broke off, {ended_badly(done)}")]


def keep_verdicts(job: Job, results: list[Result]) -> str | None:
    """Let `auto` know how the Triton kernels did on a GPU; returns a line about it, None for another job."""
    device = torch.device(job.device)
    if job.backends != ("triton",) or device.type != "cuda":
        return None
    taken = []
    for dtype in job.dtypes:
        found = verdict(r for r in results if r.dtype == dtype and r.operation != "network")
        if found is None:
            continue
        operations = (triton_support.SCAN, triton_support.WINDOW_ATTENTION)
        whole = {name: found.get(name, "the check broke off") for name in operations}
        triton_verdict.keep(device, getattr(torch, dtype), whole)
        taken += [f"{name} ({dtype})" for name, fault in whole.items() if fault is None]
    return f"auto takes Triton on {job.where} for: {', '.join(taken) or 'nothing'}"


def _native_jobs() -> Iterator[Job]:
    if loader.unavailable() is not None:
        return
    best = loader.isa().removesuffix("bf16")  # which has the same kernels of float32 and float64
    one = bool(os.environ.get("MAMBAIRV2_ISA"))
    for isa in (best,) if one else INSTRUCTION_SETS[INSTRUCTION_SETS.index(best) :]:
        yield Job(("native",), isa, dtypes=("float32", "float64"), environment={"MAMBAIRV2_ISA": isa})


def _gpu_jobs() -> Iterator[Job]:
    if triton_support.INTERPRETED and triton_support.unavailable() is None:
        yield Job(("triton",), "CPU", environment={"TRITON_INTERPRET": "1"})
    if torch.backends.mps.is_available():
        yield Job(PLAIN, "mps", "mps", environment={"PYTORCH_ENABLE_MPS_FALLBACK": "1"})
    seen = set()
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        if (name, capability) in seen:
            continue
        seen.add((name, capability))
        yield Job(PLAIN, f"cuda:{index}", f"cuda:{index}", environment=EXACT)
        if triton_support.unavailable() is None and not triton_support.INTERPRETED:
            half = ("float16", "bfloat16") if torch.version.hip or capability >= (8, 0) else ("float16",)
            yield Job(("triton",), f"cuda:{index}", f"cuda:{index}", ("float32", *half), EXACT)


def _broken(job: Job, why: str) -> Result:
    return Result(" ".join(job.backends), job.where, "all", "", math.inf, math.nan, math.nan, "", why)
