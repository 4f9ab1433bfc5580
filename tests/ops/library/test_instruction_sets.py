"""The native kernels agree with the reference whatever instruction set they were compiled for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mambairv2.ops.library import loader

CHECK = """
import torch
from depthwise_kernel import depthwise_kernel
from mambairv2.ops.library import loader
from mambairv2.ops.blocks.attention_block import attention_block
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.dense.depthwise import depthwise
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.scan.selective_scan import selective_scan
from mambairv2.ops.attention.window_attention import window_attention

torch.manual_seed(0)
torch.set_num_threads(2)
L, D, N = 70, 21, 8
order = torch.stack([torch.randperm(L), torch.randperm(L)])
inputs = [torch.randn(2, L, D), torch.randn(2, L, D) - 1, -4 * torch.rand(D, N), torch.randn(2, L, N)]
inputs += [torch.randn(2, L, N), torch.randn(D), torch.randn(D), torch.randn(2, L, N)]
qkv, table = torch.randn(1, 32, 16, 3 * 2 * 13), torch.randn(961, 2)
dense = [torch.randn(*s) for s in ((2, 5, 35, 11), (14, 11), (14,), (11,), (11,), (2, 5, 35, 14), (7, 1, 5, 5), (7,))]


def results(scan, attention, dtype):
    given = [t.to(dtype).requires_grad_() for t in inputs]
    y, last = selective_scan(*given[:7], order=order, prompt=given[7], backend=scan)
    weights = [t.to(dtype).requires_grad_() for t in (qkv, table)]
    out = window_attention(*weights, 16, 8, attention)
    x, weight, bias, gamma, beta, skip, taps, base = more = [t.to(dtype).requires_grad_() for t in dense]
    backend = "torch" if scan == "reference" else "native"
    t = linear(x, weight, bias, norm=(gamma, beta, 1e-5), gelu=True, skip=skip, scale=bias, backend=backend)
    convolve = depthwise if scan == "reference" else depthwise_kernel
    dws = [convolve(t, taps, base, "gated", norm=(gamma[:7], beta[:7], 1e-5))]
    dws += [convolve(t[..., :7], taps, base, mode) for mode in ("sigmoid", "gelu")]
    (y.square().sum() + out.square().sum() + sum(z.square().sum() for z in dws)).backward()
    with torch.no_grad():  # one pass
        norm, wide = (gamma, beta, 1e-5), (weights[0][:1, :16, :, :26] / 4).contiguous()
        square = wide.flatten(0, 2)[:26]
        maps = (torch.cat([square] * 3), square.repeat(3, 1)[:, 0]), (square, square[0])
        norm26 = (square[1], square[2], 1e-5)
        blocks = [attention_block(wide, norm26, maps[0], weights[1], maps[1], 16, 8, backend=attention, dense=backend)]
        last_map = (weight[:11, :7].contiguous(), gamma)
        more_blocks = {"conv_norm": (gamma[:7], beta[:7], 1e-5), "last": last_map, "gelu": True, "backend": backend}
        blocks += [conv_block(x, norm, (weight, bias), (taps, base), "gated", **more_blocks)]
    return [y, last, out, t, *dws, *blocks] + [t.grad for t in given + weights + more]


truth = results("reference", "reference", torch.float64)
for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
    for found, expected in zip(results("native", "native", dtype), truth, strict=True):
        error = (found.double() - expected).abs().max() / expected.abs().max()
        assert error <= bound, (dtype, error)
print(loader.isa())
"""


@pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_instruction_set(isa):
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    environment = {**os.environ, "MAMBAIRV2_ISA": isa, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if done.stdout.split()[-1] != isa:
        pytest.skip(f"this processor has no {isa}; {done.stdout.split()[-1]} was checked")
