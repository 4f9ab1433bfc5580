"""Linear maps and depthwise convolutions: the native kernels against plain torch, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from depthwise_kernel import depthwise_kernel
from torch import Tensor

from mambairv2.ops.dense.depthwise import depthwise
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.library import loader

pytestmark = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}
depthwises = {"torch": depthwise, "native": depthwise_kernel}


def check(run: Callable[..., Tensor], sizes: list[tuple[int, ...]], dtype: torch.dtype) -> None:
    """Compare `run(*tensors, backend)` and its gradients for tensors of these sizes."""
    torch.manual_seed(0)
    values = [torch.randn(*size, dtype=dtype) for size in sizes]
    results = []
    for backend in ("torch", "native"):
        tensors = [value.clone().requires_grad_() for value in values]
        y = run(*tensors, backend)
        y.backward(torch.cos(torch.arange(y.numel(), dtype=dtype)).view_as(y))
        results.append([y, *(tensor.grad for tensor in tensors)])
    for expected, found in zip(*results, strict=True):
        assert (found - expected).abs().max() <= BOUNDS[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize(("rows", "inside", "outside"), [(300, 48, 144), (1, 3, 48), (77, 48, 19), (640, 24, 48)])
class TestLinear:
    def test_plain(self, rows, inside, outside, dtype):
        check(lambda x, w, b: linear(x, w, backend=b), [(rows, inside), (outside, inside)], dtype)

    def test_everything(self, rows, inside, outside, dtype):
        def run(x, w, bias, gamma, beta, residual, skip, scale, backend):
            norm, more = (gamma, beta, 1e-5), {"residual": residual, "skip": skip, "scale": scale}
            return linear(x, w, bias, norm=norm, gelu=True, backend=backend, **more)

        tokens = (rows, outside)
        sizes = [(rows, inside), (outside, inside), (outside,), (inside,), (inside,), tokens, tokens, (outside,)]
        check(run, sizes, dtype)

    def test_strided(self, rows, inside, outside, dtype):
        sizes = [(2, rows, inside + 5), (outside, inside)]
        check(lambda x, w, b: linear(x[..., 2:-3], w, backend=b), sizes, dtype)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("size", [(2, 17, 40, 24, 5), (1, 1, 1, 3, 3), (1, 33, 7, 70, 3), (1, 20, 20, 5, 7)])
class TestDepthwise:
    def test_gated(self, size, dtype):
        *image, channels, kernel = size

        def run(x, weight, bias, gamma, beta, backend):
            return depthwises[backend](x, weight, bias, "gated", norm=(gamma, beta, 1e-5))

        sizes = [(*image, 2 * channels), (channels, 1, kernel, kernel), *[(channels,)] * 3]
        check(run, sizes, dtype)

    @pytest.mark.parametrize("mode", ["gated", "sigmoid", "gelu"])
    def test_plain(self, size, mode, dtype):
        *image, channels, kernel = size
        sizes = [(*image, channels * (1 + (mode == "gated"))), (channels, 1, kernel, kernel), (channels,)]
        check(lambda x, w, bias, backend: depthwises[backend](x, w, bias, mode), sizes, dtype)


def test_threads_change_nothing():
    torch.manual_seed(0)
    x, w = torch.randn(3000, 48), torch.randn(48, 48)
    taps, bias = torch.randn(48, 1, 3, 3), torch.randn(48)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        given = [t.clone().requires_grad_() for t in (x, w, taps, bias)]
        y = depthwise_kernel(linear(*given[:2], backend="native").view(1, 30, 100, 48), *given[2:], "sigmoid")
        y.square().sum().backward()
        found.append([y, *(t.grad for t in given)])
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_wrong_dtype():
    with pytest.raises(ValueError, match="float32 or float64"):
        linear(torch.ones(2, 3).half(), torch.ones(4, 3).half(), backend="native")
