"""On a GPU `auto` takes Triton only after its kernels agreed.

A CPU stands for the GPU here, in Triton's interpreter.
"""

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from broken_kernels import in_every_process
from mambairv2.ops import backend_choice, own_process, triton_support, triton_verdict
from mambairv2.ops.triton_support import SCAN, WINDOW_ATTENTION
from mambairv2.ops.triton_verdict import agrees, cache_folder

CPU, F32 = torch.device("cpu"), torch.float32
RIGHT = {SCAN: None, WINDOW_ATTENTION: None}
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with a GPU of some name, on which nothing was checked yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(triton_verdict, "_device_name", lambda device: "a GPU 9.0")
    another_process(monkeypatch)


def another_process(monkeypatch):
    monkeypatch.setattr(triton_verdict, "_known", {})
    monkeypatch.setattr(triton_verdict, "_told", [])


def ended(status=0, output="", errors=""):
    return subprocess.CompletedProcess([], status, output, errors)


def stands_for_the_check(monkeypatch, done):
    """Let the process of the check end at once like this; returns the list of those that were started."""
    started = []

    def run(*arguments, timeout):
        started.append(arguments)
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(triton_verdict, "run_module", run)
    return started


def kept():
    return [path for path in cache_folder().glob("*") if path.is_file()] if cache_folder().exists() else []


@needs_triton
def test_right_kernels_are_checked_once(monkeypatch, capfd):
    assert agrees(SCAN, CPU, F32)
    assert agrees(WINDOW_ATTENTION, CPU, F32)
    assert len(kept()) == 1
    another_process(monkeypatch)
    assert stands_for_the_check(monkeypatch, OSError()) == []
    assert agrees(SCAN, CPU, F32)
    assert capfd.readouterr() == ("", "")


@needs_triton
@pytest.mark.parametrize(
    ("broken", "reason"),
    [("break_triton()", "output 0 differs by 0.0"), ("break_triton('ptxas failed')", "RuntimeError: ptxas failed")],
)
def test_a_broken_kernel_is_not_taken(broken, reason, monkeypatch, tmp_path, capfd):
    in_every_process(monkeypatch, tmp_path, broken)
    for _ in range(2):  # the verdict that was kept says the same
        assert not agrees(SCAN, CPU, F32)
        assert agrees(WINDOW_ATTENTION, CPU, F32)
        assert not agrees(SCAN, CPU, F32)
        said = capfd.readouterr().err.splitlines()
        assert len(said) == 1
        assert f"Triton's selective scan (float32) failed its check: {reason}" in said[0]
        assert "`mambairv2 check` shows more" in said[0]
        another_process(monkeypatch)
        stands_for_the_check(monkeypatch, OSError())


@pytest.mark.parametrize(
    ("done", "reason", "is_kept"),
    [
        (ended(-11), "it broke off, the process was ended by signal 11", True),
        (ended(-9), "it broke off, the process was ended by signal 9", False),
        (
            ended(1, errors="Traceback\nRuntimeError: CUDA error: busy\n"),
            "it broke off, RuntimeError: CUDA error: busy",
            False,
        ),
        (ended(0, output="[1]\n"), "it broke off, the process ended with status 0", False),
        (ended(0, output=""), "it broke off, the process ended with status 0", False),
        (subprocess.TimeoutExpired([], 300), "it did not end within 300 s", True),
        (OSError("no such program"), "it could not be started (no such program)", False),
    ],
)
def test_a_check_that_fails(done, reason, is_kept, monkeypatch, capfd):
    """What was the machine's fault and not the kernels' is tried again by the next process."""
    stands_for_the_check(monkeypatch, done)
    assert not agrees(SCAN, CPU, F32)
    assert not agrees(WINDOW_ATTENTION, CPU, F32)
    assert capfd.readouterr().err.count("\n") == 1
    assert triton_verdict._known[("cpu", F32)][SCAN] == reason
    assert len(kept()) == is_kept


def test_dtypes_and_machines_have_verdicts_of_their_own(monkeypatch):
    started = stands_for_the_check(monkeypatch, ended(output=json.dumps(RIGHT)))
    changes = [
        lambda: None,
        lambda: monkeypatch.setattr(triton_verdict, "_device_name", lambda device: "a GPU 8.0"),
        lambda: monkeypatch.setattr(torch, "__version__", "2.99"),
        lambda: monkeypatch.setattr(triton_verdict, "_kernel_digest", lambda: "other kernels"),
        lambda: monkeypatch.setattr(triton_verdict, "_DRIVERS", (Path(__file__),)),
        lambda: monkeypatch.setattr("importlib.metadata.version", lambda package: f"9 of {package}"),
    ]
    for count, change in enumerate(changes, 1):
        change()
        for _ in range(2):
            another_process(monkeypatch)
            assert agrees(SCAN, CPU, F32)
        assert len(started) == len(kept()) == count
    assert agrees(SCAN, CPU, torch.float16)
    assert started[-1] == ("mambairv2.ops.self_check", "cpu", "float16")


def test_the_digest_is_of_the_kernels(monkeypatch, tmp_path):
    before = triton_verdict._kernel_digest()
    for name in ("scan/triton_forward.py", "self_check/cases.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(triton_verdict, "_HERE", tmp_path)
    one = triton_verdict._kernel_digest()
    (tmp_path / "scan" / "triton_forward.py").write_text("two")
    assert len({before, one, triton_verdict._kernel_digest()}) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verdict": 1}', '{"verdict": {"selective scan": 1}}', "{}"])
def test_a_damaged_verdict_is_made_again(text, monkeypatch):
    started = stands_for_the_check(monkeypatch, ended(output=json.dumps(RIGHT)))
    agrees(SCAN, CPU, F32)
    kept()[0].write_text(text)
    another_process(monkeypatch)
    assert agrees(SCAN, CPU, F32)
    assert len(started) == 2
    assert json.loads(kept()[0].read_text())["verdict"] == RIGHT


def test_no_cache_folder_is_no_trouble(monkeypatch, tmp_path, capfd):
    started = stands_for_the_check(monkeypatch, ended(output=json.dumps(RIGHT)))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert agrees(SCAN, CPU, F32)
    assert agrees(SCAN, CPU, F32)
    assert len(started) == 1
    monkeypatch.setattr(triton_verdict, "cache_folder", lambda: None)
    another_process(monkeypatch)
    assert agrees(SCAN, CPU, F32)
    assert capfd.readouterr() == ("", "")


def test_a_verdict_is_written_whole_or_not_at_all(monkeypatch):
    """Many write the same verdict, and one fails midway: what is read is always whole, and nothing is left over."""
    verdicts = [{SCAN: "x" * 10_000 * i, WINDOW_ATTENTION: None} for i in range(1, 5)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: triton_verdict.keep(CPU, F32, verdicts[i % 4]), range(80)))
    assert triton_verdict._kept(CPU, F32) in verdicts
    monkeypatch.setattr(json, "dump", lambda *_, **__: (_ for _ in ()).throw(OSError("full disk")))
    assert triton_verdict.keep(CPU, F32, RIGHT) is None
    assert len(kept()) == 1
    assert triton_verdict._kept(CPU, F32) in verdicts


def test_auto_goes_by_the_verdict_and_a_name_does_not(monkeypatch):
    monkeypatch.setattr(triton_support, "unavailable", lambda: None)
    started = stands_for_the_check(monkeypatch, ended(output=json.dumps({SCAN: "wrong", WINDOW_ATTENTION: None})))
    gpu = torch.device("cuda:0")
    u, qkv = (SimpleNamespace(device=gpu, dtype=F32, shape=(1, 16, 16, 72)) for _ in range(2))
    assert backend_choice.scan_backend(u, "triton") == "triton"
    assert backend_choice.attention_backend(qkv, 16, "triton", 2) == "triton"
    assert started == []
    assert backend_choice.scan_backend(u) == "chunked"
    assert backend_choice.attention_backend(qkv, 16, heads=2) == "triton"
    assert started == [("mambairv2.ops.self_check", "cuda:0", "float32")]


def test_on_a_cpu_nothing_is_checked(monkeypatch):
    started = stands_for_the_check(monkeypatch, OSError())
    backend_choice.scan_backend(torch.ones(1, 3, 2))
    backend_choice.attention_backend(torch.ones(1, 16, 16, 12), 16)
    assert started == []


@pytest.mark.parametrize("scan", [None, "wrong"])
def test_under_compile_the_verdict_is_a_constant(scan, monkeypatch, capfd):
    started = stands_for_the_check(monkeypatch, ended(output=json.dumps({SCAN: scan, WINDOW_ATTENTION: None})))

    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="eager")
    def compiled(x):
        return x + 1 if agrees(SCAN, x.device, x.dtype) else x - 1

    assert compiled(torch.zeros(1)).item() == (1 if scan is None else -1)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/mambairv2"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "home/.cache/mambairv2"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/mambairv2"),
        ("darwin", {}, "home/Library/Caches/mambairv2"),
        ("win32", {}, "home/AppData/Local/mambairv2/cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mambairv2/cache"),
    ],
)
def test_the_cache_folder_is_that_of_the_platform(platform, variables, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_a_process_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    (tmp_path / "told.py").write_text("import json, os, sys; print(sys.argv[1:], os.environ['WORD'], sys.stdin.read())")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    done = own_process.run_module("told", "one", environment={"WORD": "two"}, timeout=60)
    assert (done.returncode, done.stdout) == (0, "['one'] two \n")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(OSError, match="not run by a Python"):
        own_process.run_module("told", timeout=60)
