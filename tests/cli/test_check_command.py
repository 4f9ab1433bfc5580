"""The command `check`: what it shows, and that a broken backend does not pass."""

import importlib.util
import json
import math

import pytest
import torch
from typer.testing import CliRunner

from broken_kernels import in_every_process
from mambairv2.cli.check import machine
from mambairv2.cli.check.apart import Job
from mambairv2.cli.main import app
from mambairv2.ops import triton_support, triton_verdict
from mambairv2.ops.library import loader
from mambairv2.ops.self_check.comparison import Result

WHY = loader.unavailable()
ISA = None if WHY else loader.isa().removesuffix("bf16")
NATIVE = pytest.mark.skipif(WHY is not None, reason=str(WHY))


@pytest.fixture(autouse=True)
def one_instruction_set(monkeypatch):
    """The best one only, which saves two processes."""
    if WHY is None:
        monkeypatch.setenv("MAMBAIRV2_ISA", ISA)


def check(*arguments):
    return CliRunner().invoke(app, ["check", *arguments])


def without_native(monkeypatch, why="no compiler was there"):
    monkeypatch.setattr(loader, "unavailable", lambda: why)


@NATIVE
def test_all_agree(tmp_path):
    result = check("--json", str(tmp_path / "new" / "check.json"))
    assert result.exit_code == 0, result.output
    assert f"native ({ISA})" in result.output
    assert "all agree" in result.output
    report = json.loads((tmp_path / "new" / "check.json").read_text())
    found = {(row["backend"], row["operation"]) for row in report["results"] if row["agrees"]}
    assert found >= {(name, "network") for name in ("reference", "torch", "native")}
    assert found >= {("native", name) for name in ("selective scan", "window attention", "routing", "noise")}
    assert all(row["milliseconds"] > 0 for row in report["results"])
    assert report["mambairv2"]


@NATIVE
def test_a_broken_kernel_fails(monkeypatch, tmp_path):
    in_every_process(monkeypatch, tmp_path, "break_native('scan_backward')")
    result = check("--json", str(tmp_path / "check.json"))
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert f"native ({ISA}) is wrong in selective scan float32: gradient of delta differs by" in lines[0]
    assert "set MAMBAIRV2_NO_NATIVE=1" in lines[0]
    assert "WRONG" in result.output
    rows = json.loads((tmp_path / "check.json").read_text())["results"]
    assert {row["backend"] for row in rows if not row["agrees"]} == {"native"}


@NATIVE
def test_a_crash_ends_its_own_process_only(monkeypatch, tmp_path):
    in_every_process(monkeypatch, tmp_path, "loader.call = lambda *_: __import__('os').abort()")
    result = check()
    assert result.exit_code == 1
    assert "is wrong in all: it broke off, the process was ended by signal 6" in result.output


def test_a_machine_without_compiler_or_gpu(monkeypatch, tmp_path):
    without_native(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = check()
    assert result.exit_code == 0, result.output
    assert "not checked: native, no compiler was there" in result.output
    assert "not checked: triton, " in result.output


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("broken", [False, True])
def test_triton_in_its_interpreter(broken, monkeypatch, tmp_path):
    without_native(monkeypatch)
    monkeypatch.setattr(triton_support, "INTERPRETED", True)
    if broken:
        in_every_process(monkeypatch, tmp_path, "break_triton()")
    result = check()
    assert "triton (CPU)" in result.output
    assert result.exit_code == broken, result.output
    assert ("is wrong in selective scan float32" in result.output) == broken


def test_instruction_sets_from_the_best_down(monkeypatch):
    monkeypatch.delenv("MAMBAIRV2_ISA", raising=False)
    monkeypatch.setattr(loader, "unavailable", lambda: None)
    monkeypatch.setattr(loader, "isa", lambda: "avx2")
    native = [job for job in machine.jobs() if job.backends == ("native",)]
    assert [job.environment for job in native] == [{"MAMBAIRV2_ISA": name} for name in ("avx2", "portable")]
    monkeypatch.setenv("MAMBAIRV2_ISA", "avx2")
    assert [job.where for job in machine.jobs() if job.backends == ("native",)] == ["avx2"]


def test_jobs_of_gpus(monkeypatch):
    """Of two GPUs alike one is checked; the half precision that a GPU lacks is left out."""
    names = ["H100", "H100", "T4"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0) if names[index] == "H100" else (7, 5))
    monkeypatch.setattr(triton_support, "unavailable", lambda: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    jobs = {(job.backends[0], job.device): job for job in machine.jobs() if job.device != "cpu"}
    assert set(jobs) == {("chunked", "mps"), *((name, f"cuda:{i}") for name in ("chunked", "triton") for i in (0, 2))}
    assert jobs["triton", "cuda:0"].dtypes == ("float32", "float16", "bfloat16")
    assert jobs["triton", "cuda:2"].dtypes == ("float32", "float16")


def test_what_was_found_on_a_gpu_is_kept(monkeypatch):
    kept = {}
    monkeypatch.setattr(
        triton_verdict, "keep", lambda device, dtype, verdict: kept.update({(str(device), dtype): verdict})
    )
    job = Job(("triton",), "cuda:0", "cuda:0", ("float32", "float16"))
    right = Result("triton", "cuda:0", "selective scan", "float32", 1e-7, 1e-4, 1.0, "output 0")
    line = machine.keep_verdicts(job, [right])
    assert kept["cuda:0", torch.float32] == {"selective scan": None, "window attention": "the check broke off"}
    assert kept["cuda:0", torch.float16] == dict.fromkeys(("selective scan", "window attention"), "the check broke off")
    assert line == "auto takes Triton on cuda:0 for: selective scan (float32)"
    kept.clear()
    full = Result("triton", "cuda:0", "selective scan", "float32", math.inf, 1e-4, math.nan, "", "OutOfMemoryError: x")
    machine.keep_verdicts(Job(("triton",), "cuda:0", "cuda:0"), [full])
    assert kept == {}
    assert machine.keep_verdicts(Job(("native",), "avx2"), [right]) is None


def test_a_report_that_cannot_be_written(tmp_path):
    result = check("--json", str(tmp_path))
    assert result.exit_code == 1
    assert "is a folder" in result.output
