"""The drop-in selective_scan_fn against the equations, written out in float64."""

from __future__ import annotations

import pytest
import torch

from mambairv2.ops import selective_scan_fn
from mambairv2.ops.library import loader

BATCH, CHANNELS, STATES, LENGTH = 2, 6, 3, 21
LAYOUTS = {
    "constant": (CHANNELS, STATES),
    "token": (BATCH, STATES, LENGTH),
    "two groups": (BATCH, 2, STATES, LENGTH),
    "three groups": (BATCH, 3, STATES, LENGTH),
}


def by_equations(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """Loop over tokens with B and C spread to (batch, channels, states) at each."""

    def at(matrix, i):
        if matrix.ndim == 2:
            return matrix
        if matrix.ndim == 3:
            return matrix[:, None, :, i]
        size = CHANNELS // matrix.shape[1]
        return torch.cat([group[:, None, :, i].expand(-1, size, -1) for group in matrix.unbind(1)], 1)

    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = torch.log1p(torch.exp(delta))
    h, outputs = torch.zeros(BATCH, CHANNELS, STATES, dtype=u.dtype), []
    for i in range(u.shape[2]):
        step, x = delta[:, :, i, None], u[:, :, i]
        h = torch.exp(step * A) * h + step * at(B, i) * x[..., None]
        y = (at(C, i) * h).sum(-1)
        y = y if D is None else y + D * x
        outputs.append(y if z is None else y * z[:, :, i] / (1 + torch.exp(-z[:, :, i])))
    return torch.stack(outputs, 2), h


def random_inputs(B, C, dtype=torch.float64):
    def real(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(dtype)

    return {
        "u": real(BATCH, CHANNELS, LENGTH),
        "delta": real(BATCH, CHANNELS, LENGTH) * 0.5,
        "A": -torch.rand(CHANNELS, STATES, dtype=torch.float64).to(dtype) - 0.1,
        "B": real(*LAYOUTS[B]),
        "C": real(*LAYOUTS[C]),
        "D": real(CHANNELS),
        "z": real(BATCH, CHANNELS, LENGTH),
        "delta_bias": real(CHANNELS),
    }


def run(function, inputs, weight, **options):
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    y, last = function(**leaves, **options)
    (y * weight).sum().backward()
    return {"y": y, "last": last} | {name: leaf.grad for name, leaf in leaves.items()}


def assert_same(got, expected, tolerance):
    for name, value in expected.items():
        scale = value.abs().max()
        assert (got[name] - value).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("backend", ["reference", "chunked", "auto"])
@pytest.mark.parametrize("C", LAYOUTS)
@pytest.mark.parametrize("B", LAYOUTS)
def test_outputs_and_gradients(B, C, backend):
    inputs = random_inputs(B, C)
    weight = torch.randn_like(inputs["u"])
    expected = run(by_equations, inputs, weight, delta_softplus=True)
    got = run(selective_scan_fn, inputs, weight, delta_softplus=True, return_last_state=True, backend=backend)
    assert_same(got, expected, 1e-10)


@pytest.mark.parametrize("missing", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("softplus", [False, True])
def test_without_options(missing, softplus):
    inputs = {k: v for k, v in random_inputs("token", "two groups").items() if k not in missing}
    inputs["delta"] = inputs["delta"].abs()
    weight = torch.randn_like(inputs["u"])
    expected = run(by_equations, inputs, weight, delta_softplus=softplus)
    got = run(selective_scan_fn, inputs, weight, delta_softplus=softplus, return_last_state=True)
    assert_same(got, expected, 1e-10)


def test_returns_the_output_alone_unless_asked():
    inputs = random_inputs("token", "token")
    y = selective_scan_fn(*inputs.values(), True)
    assert isinstance(y, torch.Tensor)
    assert torch.equal(y, selective_scan_fn(**inputs, delta_softplus=True, return_last_state=True)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_of_the_output_follows_u(dtype):
    inputs = random_inputs("token", "token", dtype)
    inputs["A"], inputs["D"] = inputs["A"].float(), inputs["D"].float()  # as Mamba keeps its parameters
    got, last = selective_scan_fn(**inputs, delta_softplus=True, return_last_state=True)
    expected, end = by_equations(**{k: v.double() for k, v in inputs.items()}, delta_softplus=True)
    assert got.dtype == dtype
    assert last.dtype == torch.float32
    assert torch.allclose(last.double(), end, rtol=1e-4, atol=1e-5)
    rounded = expected.to(dtype).double()
    assert torch.allclose(got.double(), rounded, rtol=4 * torch.finfo(dtype).eps, atol=1e-5)


def test_complex_matrices_are_refused():
    inputs = random_inputs("token", "token")
    with pytest.raises(ValueError, match=r"must be real, got torch\.complex128"):
        selective_scan_fn(**inputs | {"A": inputs["A"].to(torch.complex128)})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("delta", (BATCH, LENGTH, CHANNELS)),
        ("A", (CHANNELS + 1, STATES)),
        ("B", (BATCH, LENGTH, STATES)),
        ("C", (BATCH, 4, STATES, LENGTH)),
        ("z", (BATCH, CHANNELS)),
        ("D", (CHANNELS, 1)),
    ],
)
def test_shapes_that_do_not_fit(name, shape):
    with pytest.raises(ValueError, match=f"{name} must be"):
        selective_scan_fn(**random_inputs("token", "token") | {name: torch.zeros(shape, dtype=torch.float64)})


@pytest.mark.skipif(loader.unavailable() is not None, reason="no native kernels")
def test_a_named_backend():
    inputs = random_inputs("token", "token")
    y = selective_scan_fn(**inputs, backend="native")
    assert torch.allclose(y, selective_scan_fn(**inputs, backend="reference"), rtol=1e-10)
