"""The replay of recorded kernel calls passes on this machine's own library, and finds what is broken."""

import re
import shutil
import struct

import pytest
from record import record as record_here
from wheel_files import compile_replay, record, replay

from broken_kernels import broken_call
from mambairv2.ops.library import loader

COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = [
    pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable())),
    pytest.mark.skipif(COMPILER is None, reason="no g++ and no clang++ to compile the replay"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The replay, and cases of the portable kernels."""
    folder = tmp_path_factory.mktemp("replay")
    program = compile_replay([COMPILER, "-Wall", "-Wextra", "-Werror"], folder / "replay")
    assert record(folder / "cases", "portable") == "portable"
    return program, folder / "cases"


def run(program, cases, isa="portable"):
    return replay([str(program), str(loader._find()), str(cases)], isa)


def text(value):
    return struct.pack("<q", len(value)) + value


def test_every_kernel_agrees_with_what_was_recorded(files):
    done = run(*files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "instruction set: portable"
    assert done.stdout.splitlines()[-1] == "all kernels agree"


def test_a_kernel_without_a_case_is_told(files, tmp_path):
    data = files[1].read_bytes()
    (tmp_path / "cases").write_bytes(data[: data.index(text(b"attention_forward_f32"))] + text(b""))
    done = run(files[0], tmp_path / "cases")
    assert (done.returncode, done.stderr[:18]) == (1, "replay: no case of")


def test_a_kernel_that_the_library_has_not_is_told(files, tmp_path):
    data = files[1].read_bytes()
    (tmp_path / "cases").write_bytes(data.replace(text(b"noise_f32"), text(b"bruit_f32")))
    done = run(files[0], tmp_path / "cases")
    assert (done.returncode, done.stderr) == (1, "replay: a case of bruit_f32, which is no kernel\n")


@pytest.mark.parametrize("kernel", ["scan_forward", "attention_backward", "sort_by_label", "draw_forward"])
def test_a_result_that_differs_is_told(files, tmp_path, kernel, monkeypatch):
    monkeypatch.setattr(loader, "call", broken_call(kernel))
    record_here(tmp_path / "cases")
    done = run(files[0], tmp_path / "cases", isa="")
    assert done.returncode == 1
    assert re.match(rf"replay: {kernel}_f(32|64) on 1 threads: buffer \d+ differs by", done.stderr)


def test_cases_of_wider_vectors_are_refused(files):
    if run(*files, isa="avx2").stdout.startswith("instruction set: portable"):
        pytest.skip("this processor has no AVX2")
    assert "mambairv2_width_f32 is 8: other cases needed" in run(*files, isa="avx2").stderr


def test_a_file_that_ends_early_is_told(files, tmp_path):
    data = files[1].read_bytes()
    (tmp_path / "cases").write_bytes(data[: len(data) // 2])
    assert run(files[0], tmp_path / "cases").stderr == "replay: the file of cases ends too early\n"
