"""What the Triton kernels must do: on a GPU, or with TRITON_INTERPRET=1 on the CPU. test_triton.py runs this."""

from __future__ import annotations

import pytest
import torch

from mambairv2 import MambaIRv2, MambaIRv2Config
from mambairv2.ops import triton_support
from mambairv2.ops.attention.window_attention import window_attention
from mambairv2.ops.backend_choice import scan_backend
from mambairv2.ops.scan import triton_launch
from mambairv2.ops.scan.selective_scan import selective_scan

DEVICE = "cpu" if triton_support.INTERPRETED else "cuda"
SHORT = triton_support.INTERPRETED  # the interpreter takes a millisecond for what a GPU does in a nanosecond
LENGTHS = (0, 1, 16, 37) if SHORT else (0, 1, 15, 16, 37, 150, 4099)
SIZES = ((2, 3), (5, 4)) if SHORT else ((2, 3), (5, 4), (48, 8), (348, 16), (20, 33))
# The interpreter multiplies matrices of bfloat16 by their bits.
PRODUCTS = [torch.float16] if triton_support.INTERPRETED else [torch.float16, torch.bfloat16]
IMAGES = ((1, 16, 32),) if SHORT else ((1, 16, 16), (2, 64, 48), (1, 256, 256))


@pytest.fixture(autouse=True)
def poisoned():
    """Fresh memory holds NaN, so that whoever reads what was not written shows it."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3, device=DEVICE).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE)


def scan_inputs(length: int, channels: int, states: int, batch: int = 2, routed: bool = True):
    projected = normal(batch, length, 2 * states + 1)  # B and C are parts of one tensor, as in the network
    values = {
        "u": normal(batch, length, channels),
        "delta": normal(batch, length, channels),
        "A": -4 * torch.rand(channels, states, device=DEVICE) - 0.2,
        "B": projected[..., 1 : states + 1],
        "C": projected[..., states + 1 :],
        "D": normal(channels),
        "delta_bias": 0.1 * normal(channels),
    }
    if routed:
        values["order"] = torch.rand(batch, length, device=DEVICE).argsort(1)
        values["prompt"] = normal(batch, length, states)
    return values


def run(function, values, **options):
    leaves = {k: v.detach().requires_grad_() for k, v in values.items() if v.is_floating_point()}
    y = function(**{**values, **leaves}, **options)
    y, *rest = y if isinstance(y, tuple) else (y,)
    weight = torch.linspace(-1, 2, y.numel(), device=y.device).view_as(y).to(y.dtype)
    grads = torch.autograd.grad((y * weight).sum(), list(leaves.values()), materialize_grads=True)
    last = {"last": rest[0]} if rest else {}
    return {"y": y, **last, **{f"d{name}": grad for name, grad in zip(leaves, grads, strict=True)}}


def check(function, values, tolerance=1e-4, **options):
    exact = {k: v.double() if v.is_floating_point() else v for k, v in values.items()}
    expected = run(function, exact, backend="reference", **options)
    for name, found in run(function, values, backend="triton", **options).items():
        right = expected[name]
        like = "u" if "u" in values else "qkv"
        assert found.dtype == values.get(name[1:], values[like]).dtype, name
        assert found.shape == right.shape, name
        assert found.isfinite().all(), name
        if found.numel():
            assert (found.double() - right).abs().max() <= tolerance * right.abs().max().clamp(min=1e-3), name


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_scan(length, routed):
    check(selective_scan, scan_inputs(length, 3, 2, routed=routed))


@pytest.mark.parametrize(("channels", "states"), SIZES)
def test_scan_of_other_sizes(channels, states):
    check(selective_scan, scan_inputs(21 if SHORT else 601, channels, states))


def test_scan_of_several_blocks_of_channels():
    check(selective_scan, scan_inputs(5, 18, 2, batch=1))


@pytest.mark.parametrize("strong", [False, True])
def test_scan_without_softplus(strong):
    values = scan_inputs(33, 3, 2)
    values["delta"] = (50 if strong else 1) * values["delta"].abs()
    values["delta_bias"] = values["delta_bias"].abs()
    values["A"] = (25 if strong else 1) * values["A"]
    check(selective_scan, values, delta_softplus=False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scan_of_half_precision(dtype):
    values = {k: v.to(dtype) if v.is_floating_point() else v for k, v in scan_inputs(37, 3, 2).items()}
    check(selective_scan, values, tolerance=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_scan_in_several_runs(runs, monkeypatch):
    monkeypatch.setattr(triton_launch, "SHORTEST_RUN", 1)
    monkeypatch.setattr(triton_launch, "PROGRAMS", 2 * runs)
    check(selective_scan, scan_inputs(77, 2, 2))


def test_scan_gives_the_same_bits_again():
    values = scan_inputs(40, 3, 2)
    first, second = (run(selective_scan, values, backend="triton") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_scan_limits_are_told():
    with pytest.raises(ValueError, match="up to 64 states, got 65"):
        selective_scan(**scan_inputs(3, 2, 65), backend="triton")
    exact = {k: v.double() if v.is_floating_point() else v for k, v in scan_inputs(3, 2, 2).items()}
    with pytest.raises(ValueError, match="float64"):
        selective_scan(**exact, backend="triton")


def test_auto_takes_triton_on_a_gpu_only():
    u = normal(1, 3, 2)
    assert scan_backend(u) == ("triton" if DEVICE == "cuda" else scan_backend(u.cpu()))
    assert scan_backend(u, "triton") == "triton"
    assert scan_backend(u.double()) != "triton"


@pytest.mark.parametrize("dim", [12, 29, 33])
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("size", IMAGES)
def test_attention(size, shift, dim):
    heads = 1 if SHORT else 3
    values = {"qkv": normal(*size, 3 * heads * dim), "bias_table": normal(31 * 31, heads)}
    check(window_attention, values, window=16, shift=shift)


def test_attention_of_several_heads():
    check(window_attention, {"qkv": normal(1, 16, 16, 3 * 2 * 4), "bias_table": normal(961, 2)}, window=16, shift=8)


@pytest.mark.parametrize("dtype", PRODUCTS)
def test_attention_of_half_precision(dtype):
    values = {"qkv": normal(1, 32, 16, 3 * 12).to(dtype), "bias_table": normal(961, 1)}
    check(window_attention, values, tolerance=4 * torch.finfo(dtype).eps, window=16, shift=8)


def test_attention_gives_the_same_bits_again():
    values = {"qkv": normal(1, 32, 32, 3 * 12), "bias_table": normal(961, 1)}
    first, second = (run(window_attention, values, window=16, shift=8, backend="triton") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_attention_limits_are_told():
    with pytest.raises(ValueError, match="windows of 16"):
        window_attention(normal(1, 8, 8, 12), normal(15 * 15, 1), 8, 0, "triton")
    with pytest.raises(ValueError, match="float64"):
        window_attention(normal(1, 16, 16, 12).double(), normal(961, 1).double(), 16, 0, "triton")


@pytest.mark.parametrize("routed", [True, False])
def test_scan_operators(routed):
    values = scan_inputs(5, 2, 2, routed=routed)
    plain = [*values.values(), *([] if routed else [None, None]), True]
    leaves = [v.clone().requires_grad_() if torch.is_tensor(v) and v.is_floating_point() else v for v in plain]
    forward, backward = torch.ops.mambairv2.selective_scan_triton, torch.ops.mambairv2.selective_scan_backward_triton
    torch.library.opcheck(forward, (*leaves, True))
    y, _, states = forward(*plain, True)
    torch.library.opcheck(backward, (torch.randn_like(y), *plain, states))


def test_attention_operators():
    qkv, table = normal(1, 16, 16, 12), normal(961, 1)
    forward = torch.ops.mambairv2.window_attention_triton
    torch.library.opcheck(forward, (qkv.clone().requires_grad_(), table.clone().requires_grad_(), 8, True))
    out, lse = forward(qkv, table, 8, True)
    inputs = (torch.randn_like(out), qkv, table, 8, out, lse)
    torch.library.opcheck(torch.ops.mambairv2.window_attention_backward_triton, inputs)


@pytest.mark.parametrize("autocast", [None, *PRODUCTS])
def test_network(autocast):
    config = MambaIRv2Config(embed_dim=4, d_state=1, depths=(2,), num_heads=(2,), inner_rank=2, num_tokens=4)
    model = MambaIRv2.from_config(config).to(DEVICE).eval()
    image = torch.rand(1, 3, 16, 16 if SHORT else 100, device=DEVICE)
    with torch.autocast(DEVICE, autocast, enabled=autocast is not None):
        y = model.set_backend("triton", "triton")(image)
        y.float().square().sum().backward()
        expected = model.set_backend("reference", "reference")(image)
    assert (y - expected).abs().max() <= (1e-4 if autocast is None else 0.02) * expected.abs().max()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
