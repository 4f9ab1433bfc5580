"""The seam between Python and the compiled kernels: layout, names of fields, errors, threads."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from mambairv2.ops.library import loader, structs
from mambairv2.ops.routing.prompts import neighbour_order

STRUCTS = Path(__file__).parents[3] / "csrc/abi/structs.h"
PYTHON_NAMES = {"in": "inside", "out": "outside"}  # of LinearArgs; `in` is a keyword

sanitized = pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer ends the process")
native = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))


def fields_in_c() -> dict[str, list[str]]:
    """Return the names of the fields of each struct of the header, in order."""
    text = re.sub(r"//.*", "", STRUCTS.read_text())
    found = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", text, re.DOTALL):
        declarations = [line.strip() for line in body.split(";") if line.strip()]
        found[name] = [re.search(r"(\w+)$", part.strip())[1] for line in declarations for part in line.split(",")]
    return found


def test_structs_have_the_fields_of_the_header():
    in_c = fields_in_c()
    in_c["LinearArgs"] = [PYTHON_NAMES.get(name, name) for name in in_c["LinearArgs"]]
    in_python = {s.__name__: [field[0] for field in s._fields_] for s in structs.Arguments.__subclasses__()}
    assert in_c == in_python


def test_a_struct_refuses_a_field_that_it_has_not():
    with pytest.raises(TypeError, match="NoiseArgs has no seed"):
        structs.NoiseArgs(seed=torch.zeros(1))


def test_a_struct_keeps_its_tensors_alive_and_reads_none_as_null():
    linear = structs.LinearArgs(x=torch.zeros(3), bias=None, rows=3)
    assert linear.x == linear.alive[0].data_ptr()
    assert (linear.bias, linear.weight, linear.rows) == (None, None, 3)
    assert structs.ChoiceArgs(first=linear).alive == [linear]


@native
@pytest.mark.parametrize("name", ["ABI", "SCAN_CHUNK", "LinearArgs"])
def test_a_library_of_another_layout_is_refused_with_the_reason(monkeypatch, name):
    expected = loader.expected_layout()
    monkeypatch.setattr(loader, "expected_layout", lambda: expected | {name: expected[name] + 8})
    reason = loader.load.__wrapped__()
    there, here = expected[name], expected[name] + 8
    assert f"({name} is {there} there and {here} here); reinstall the package" in reason


@native
def test_a_library_without_a_layout_is_refused(monkeypatch):
    monkeypatch.setattr(loader, "_find", lambda: Path(torch.__file__).parent / "lib/libshm.so")
    reason = loader.load.__wrapped__()
    assert "it does not tell its layout); reinstall the package" in reason


@pytest.fixture(params=[1, 2])
def threads(request):
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


@native
@sanitized
@pytest.mark.usefixtures("threads")
def test_no_memory_in_a_kernel_is_a_memory_error():
    label = torch.zeros(8, 5, dtype=torch.int64)
    with pytest.raises(MemoryError, match="not enough memory for the native kernel sort_by_label"):
        neighbour_order(label, 1 << 55, backend="native")  # a table of so many counters
    assert torch.equal(neighbour_order(label, 1, backend="native"), torch.arange(5).expand(8, 5))


@native
@pytest.mark.usefixtures("threads")
def test_another_exception_in_a_kernel_is_a_runtime_error_with_its_text():
    with pytest.raises(RuntimeError, match=r"the native kernel sort_by_label failed: .*vector"):
        neighbour_order(torch.zeros(8, 5, dtype=torch.int64), 1 << 61, backend="native")
