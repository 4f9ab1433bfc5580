"""Under autocast the scan runs in float32 and attention in the dtype of its input, right on every backend."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mambairv2 import MambaIRv2, MambaIRv2Config
from mambairv2.ops.attention.window_attention import window_attention
from mambairv2.ops.library import loader
from mambairv2.ops.scan.selective_scan import selective_scan

without_native = pytest.mark.skipif(loader.unavailable() is not None, reason="no native kernels")
NATIVE = pytest.param("native", marks=without_native)
SCANS = ["auto", "reference", "chunked", NATIVE]
ATTENTIONS = ["auto", "reference", "sdpa", NATIVE]
HALF = [torch.bfloat16, torch.float16]


def scan_inputs(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    batch, length, channels, states = 2, 35, 5, 3

    def real(*shape: int) -> torch.Tensor:
        return torch.randn(*shape).to(dtype)

    return {
        "u": real(batch, length, channels),
        "delta": real(batch, length, channels),
        "A": -torch.rand(channels, states),
        "B": real(batch, length, states),
        "C": real(batch, length, states),
        "D": torch.randn(channels),
        "delta_bias": torch.randn(channels),
        "prompt": real(batch, length, states),
    }


def run(function, inputs, weight, autocast=None, **options):
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        y = function(**leaves, **options)
    y = y[0] if isinstance(y, tuple) else y
    (y * weight).sum().backward()
    return y, {name: leaf.grad for name, leaf in leaves.items()}


def assert_close(got: torch.Tensor, exact: torch.Tensor, name: str = "y") -> None:
    """Relative to the largest; beside what rounding to the dtype of `got` takes."""
    tolerance = max(1e-4, torch.finfo(got.dtype).eps)
    assert (got.double() - exact).abs().max() <= tolerance * exact.abs().max(), name


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("backend", SCANS)
def test_scan_under_autocast(backend, dtype):
    inputs = scan_inputs(dtype)
    order = torch.stack([torch.randperm(35) for _ in range(2)])
    weight = torch.randn(2, 35, 5)
    y, gradients = run(selective_scan, inputs, weight, dtype, order=order, backend=backend)
    assert y.dtype == torch.float32
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    options = {"order": order, "backend": "reference"}
    expected, expected_gradients = run(selective_scan, exact, weight.double(), **options)
    assert_close(y, expected)
    for name, gradient in gradients.items():
        assert gradient.dtype == inputs[name].dtype, name
        assert_close(gradient, expected_gradients[name], name)


@pytest.mark.parametrize("backend", ["auto", "reference", "chunked"])
def test_scan_of_half_precision(backend):
    inputs = {name: tensor.bfloat16() for name, tensor in scan_inputs(torch.bfloat16).items()}
    y, last = selective_scan(**inputs, backend=backend)
    expected, end = selective_scan(**{k: v.double() for k, v in inputs.items()}, backend="reference")
    assert y.dtype == last.dtype == torch.bfloat16
    assert_close(y, expected)
    assert_close(last, end, "last")


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("backend", ATTENTIONS)
def test_attention_under_autocast(backend, shift, dtype):
    inputs = {"qkv": torch.randn(1, 32, 16, 3 * 2 * 12).to(dtype), "bias_table": torch.randn(31 * 31, 2)}
    weight = torch.randn(1, 32, 16, 2 * 12)
    options = {"window": 16, "shift": shift}
    y, gradients = run(window_attention, inputs, weight, dtype, backend=backend, **options)
    assert y.dtype == dtype
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    options["backend"] = "reference"
    expected, expected_gradients = run(window_attention, exact, weight.double(), **options)
    in_half = backend == "sdpa"  # which rounds the bias, the probabilities and their gradients as it goes
    tolerance = (8 if in_half else 2) * torch.finfo(dtype).eps
    assert (y.double() - expected).abs().max() <= tolerance * expected.abs().max()
    for name, gradient in gradients.items():
        exact_gradient = expected_gradients[name]
        assert gradient.dtype == inputs[name].dtype, name
        error = (gradient.double() - exact_gradient).norm() / exact_gradient.norm()
        assert error <= tolerance, name


@pytest.mark.parametrize("dtype", HALF)
def test_network_under_autocast(dtype):
    config = MambaIRv2Config(embed_dim=12, d_state=4, depths=(2,), num_heads=(2,), inner_rank=4, num_tokens=6)
    # One order of the tokens whatever the precision: labels of half precision may differ.
    model = MambaIRv2.from_config(replace(config, semantic_neighbouring=False))
    image = torch.rand(2, 3, 19, 21)
    with torch.autocast("cpu", dtype):
        y = model(image, torch.Generator().manual_seed(1))
    y.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    expected = model.eval()(image)
    assert (y - expected).abs().max() <= 0.05 * expected.abs().max()
