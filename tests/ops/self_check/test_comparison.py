"""The check of backends: right ones pass, and any kernel that is broken is found."""

import math
import re
from dataclasses import replace

import pytest
import torch

from broken_kernels import RESULTS, broken_call
from documents import ROOT
from mambairv2.ops.library import loader
from mambairv2.ops.self_check import comparison
from mambairv2.ops.self_check.cases import cases, kernel_cases
from mambairv2.ops.self_check.comparison import Case, check_all, verdict

CPU = torch.device("cpu")
NATIVE = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
OPERATIONS = {"selective scan", "low-rank scan", "window attention", "linear map", "attention block", "conv block"}
OPERATIONS |= {"routing", "sort by prompt", "noise"}


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    monkeypatch.setattr(comparison, "TIMED_CALLS", 1)


@pytest.mark.parametrize("backend", ["reference", "chunked", "sdpa", "torch", pytest.param("native", marks=NATIVE)])
def test_every_backend_agrees(backend):
    results = check_all(cases(), backend, "cpu", CPU, [torch.float32, torch.float64])
    assert results
    assert [result.fault for result in results if not result.agrees] == []
    assert all(result.difference > 0 or result.dtype == "int64" for result in results if result.dtype != "float64")


def test_every_operation_is_checked_once_a_dtype():
    results = check_all(cases(), "native", "cpu", CPU, [torch.float32]) if loader.unavailable() is None else []
    assert [r.operation for r in results] == list(dict.fromkeys(r.operation for r in results))
    assert {case.operation for case in cases()} == OPERATIONS
    assert {case.operation for case in cases() if "triton" in case.backends} == {"selective scan", "window attention"}


def test_the_scan_is_checked_with_orders_prompts_and_odd_lengths():
    scans = [case.values for case in kernel_cases() if case.operation == "selective scan"]
    assert {values["u"].shape[1] for values in scans} >= {0, 1, 37, 133}
    assert {("order" in values, "prompt" in values) for values in scans} >= {(True, True), (True, False), (False, True)}


@NATIVE
def test_all_kernels_are_broken_below():
    listed = re.findall(r"^KERNEL\((\w+),", (ROOT / "csrc" / "abi" / "kernels.def").read_text(), re.MULTILINE)
    assert set(listed) == set(RESULTS)


@NATIVE
@pytest.mark.parametrize("kernel", list(RESULTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_broken_kernel_is_found(kernel, dtype, monkeypatch):
    monkeypatch.setattr(loader, "call", broken_call(kernel))
    wrong = [r for r in check_all(cases(), "native", "cpu", CPU, [dtype]) if not r.agrees]
    assert wrong
    assert all(re.search(r"(output|gradient of) \w+.* differs by .* is allowed", r.fault) for r in wrong)


def of(run, **values):
    return Case("made", ("right", "other"), values, run)


def result_of(case):
    return check_all([case], "other", "cpu", CPU, [torch.float32])[0]


def test_an_error_is_a_fault_and_not_the_end():
    def run(values, backend):
        if backend == "other":
            raise RuntimeError("ptxas failed\nat line 3")
        return (values["x"],)

    result = result_of(of(run, x=torch.ones(3)))
    assert not result.agrees
    assert result.fault == "RuntimeError: ptxas failed"


@pytest.mark.parametrize(
    ("change", "worst"),
    [
        (lambda x: x * 1.01, "output 0"),
        (lambda x: x / 0, "output 0"),
        (lambda x: x * float("nan"), "output 0"),
        (lambda x: x[:2], "output 0"),
        (lambda x: x if not torch.is_grad_enabled() else x * 1.01, "output 0 in training"),
        (lambda x: x + x.detach() * 0.5 - x * 0.5, "gradient of x"),
    ],
)
def test_whatever_differs_is_named(change, worst):
    result = result_of(
        of(lambda values, backend: ((change if backend == "other" else abs)(values["x"]),), x=torch.ones(3))
    )
    assert not result.agrees
    assert result.worst == worst


def test_what_rounds_agrees_and_whole_numbers_must_be_the_same():
    case = of(lambda values, backend: (values["x"] + 1e-7 * (backend == "other"),), x=torch.ones(3))
    assert result_of(case).agrees
    labels = of(lambda values, backend: (values["label"] + (backend == "other"),), label=torch.arange(4))
    assert result_of(labels).difference == math.inf
    assert result_of(labels).dtype == "int64"


def test_the_verdict_is_open_where_memory_ran_out():
    right = result_of(of(lambda values, _: (values["x"],), x=torch.ones(3)))
    wrong = replace(right, operation="second", difference=1.0)
    assert verdict([right, wrong]) == {"made": None, "second": wrong.fault}
    full = replace(right, error="OutOfMemoryError: CUDA out of memory")
    assert verdict([right, full]) is None
