"""The Triton kernels, natively where there is a GPU and in Triton's interpreter everywhere (`triton_cases.py`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambairv2.ops import backend_choice, triton_support

CASES = Path(__file__).with_name("triton_cases.py")
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def run_cases(interpreted: bool) -> None:
    path = os.pathsep.join(part for part in sys.path if part)
    environment = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1" if interpreted else "0"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@needs_triton
def test_in_the_interpreter():
    run_cases(interpreted=True)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_on_the_triton_support():
    run_cases(interpreted=False)


def test_a_missing_backend_says_why(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(triton_support, "unavailable", lambda: "triton is not installed; pip install triton (Linux)")
    assert "pip install triton" in str(backend_choice.missing("triton", device))
    with pytest.raises(RuntimeError, match="'triton' is not available: the tensors are on cpu"):
        backend_choice.scan_backend(torch.ones(1, 1, 1), "triton")


SIGNATURE = {"order": "*i64", "scale": "fp32"}
FLOATS = "u delta A B C D bias prompt starts y last states ends totals left right dy du ddelta dA dB dC dD dbias"
FLOATS += " qkv table out dout lse dqkv"


@needs_triton
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_a_gpu_and_fit(capability):
    """Compile for a GPU without having one: types, layouts and shared memory are checked."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from mambairv2.ops.attention import triton_kernels
    from mambairv2.ops.scan import triton_backward, triton_forward

    scan = {"N": 16, "SOFTPLUS": True, "TILE": 16, "BLOCK_D": 16, "BLOCK_N": 16}
    attention = {"DIM": 33, "PAD": 64, "BLOCK": 32, "PRECISION": "ieee"}
    kernels = [
        (triton_forward.run_ends, {**scan, "REVERSE": True}, 8),
        (triton_forward.run_starts, {"N": 16, "REVERSE": True, "BLOCK_D": 16, "BLOCK_N": 16}, 8),
        (triton_forward.outputs, scan, 8),
        (triton_backward.gradients, scan, 8),
        (triton_kernels.forward, attention, 8),
        (triton_kernels.key_gradients, attention, 8),
        (triton_kernels.query_gradients, attention, 8),
        (triton_kernels.bias_gradients, attention, 8),
    ]
    for kernel, constants, warps in kernels:
        types = dict.fromkeys(FLOATS.split(), "*fp32") | SIGNATURE | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "i32") for name in kernel.arg_names}, constants)
        options = {"num_warps": warps, "enable_fp_fusion": True}
        built = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert built.metadata.shared <= 99 * 1024, kernel  # what the smallest of today's GPUs gives a program
