"""Every backend of window attention against the one written out: outputs and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mambairv2.ops.attention.window_attention import region_mask, relative_position_index, window_attention
from mambairv2.ops.library import loader

MISSING = loader.unavailable()
needs_native = pytest.mark.skipif(MISSING is not None, reason=f"no native kernels: {MISSING}")
NATIVE = pytest.param("native", marks=needs_native)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.fixture
def poisoned():
    """Fresh memory holds NaN, so that whoever reads what was not written shows it."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def make(size=(1, 16, 16), heads=2, dim=12, window=16, dtype=torch.float64, scale=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    qkv = scale * torch.randn(*size, 3 * heads * dim, generator=g, dtype=torch.float64)
    table = torch.randn((2 * window - 1) ** 2, heads, generator=g, dtype=torch.float64)
    return qkv.to(dtype), table.to(dtype)


def run(qkv, table, window, shift, backend):
    qkv, table = qkv.detach().clone().requires_grad_(), table.detach().clone().requires_grad_()
    y = window_attention(qkv, table, window, shift, backend)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    dqkv, dtable = torch.autograd.grad((y * weight).sum(), (qkv, table))
    return {"y": y, "dqkv": dqkv, "dtable": dtable}


def check(qkv, table, window, shift, backend):
    expected = run(qkv.double(), table.double(), window, shift, "reference")
    for name, found in run(qkv, table, window, shift, backend).items():
        assert found.dtype == qkv.dtype, name
        assert found.shape == expected[name].shape, name
        error = (found.double() - expected[name]).abs().max()
        assert error <= TOLERANCE[qkv.dtype] * expected[name].abs().max(), name


@pytest.mark.parametrize("backend", ["sdpa", NATIVE])
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("dim", [12, 29, 33])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_and_gradients(backend, shift, dim, dtype, poisoned):
    check(*make((2, 16, 32), 2, dim, dtype=dtype), 16, shift, backend)


@pytest.mark.parametrize("backend", ["sdpa", NATIVE])
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize("size", [(1, 16, 16), (1, 16, 48), (1, 48, 16), (3, 32, 16)])
def test_sizes(backend, shift, size, poisoned):
    check(*make(size, heads=1, dim=5), 16, shift, backend)


@pytest.mark.parametrize("backend", ["sdpa", NATIVE])
@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 2),
    rows=st.integers(1, 2),
    cols=st.integers(1, 2),
    heads=st.integers(1, 3),
    dim=st.integers(1, 20),
    shift=st.sampled_from([0, 8]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_any_shape(backend, batch, rows, cols, heads, dim, shift, dtype):
    check(*make((batch, 16 * rows, 16 * cols), heads, dim, dtype=dtype), 16, shift, backend)


@pytest.mark.parametrize("backend", ["reference", "sdpa", NATIVE])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_large_scores_do_not_overflow(backend, dtype):
    qkv, table = make(scale=100.0, dtype=dtype)
    y = run(qkv, table, 16, 8, backend)["y"]
    expected = run(qkv.double(), table.double(), 16, 8, "reference")["y"]
    assert (y - expected).abs().max() <= 10 * TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("backend", ["sdpa", "auto"])
@pytest.mark.parametrize("shift", [0, 2])
def test_small_windows(backend, shift):
    check(*make((2, 8, 12), 2, 3, window=4), 4, shift, backend)


@needs_native
def test_the_native_kernel_takes_windows_of_16_only():
    with pytest.raises(ValueError, match="windows of 16"):
        window_attention(*make((1, 8, 8), window=8), 8, 0, "native")
    with pytest.raises(ValueError, match="float32 or float64"):
        window_attention(*make(dtype=torch.bfloat16), 16, 0, "native")


@pytest.mark.parametrize("backend", ["reference", "sdpa", NATIVE])
def test_strided_input(backend):
    qkv, table = make((2, 16, 32))
    apart = qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    same = window_attention(apart, table.T.contiguous().T, 16, 8, backend)
    assert torch.allclose(same, window_attention(qkv, table, 16, 8, backend), rtol=1e-12, atol=1e-12)


def test_the_definition():
    """One window, each pair written out: the row of the table is that of the difference in position."""
    qkv, table = make((1, 3, 3), heads=2, dim=2, window=3)
    q, k, v = qkv.view(9, 3, 2, 2).unbind(1)
    expected = torch.zeros(9, 2, 2, dtype=torch.float64)
    for head in range(2):
        for i in range(9):
            rows = [(i // 3 - j // 3 + 2) * 5 + (i % 3 - j % 3 + 2) for j in range(9)]
            score = k[:, head] @ q[i, head] / 2**0.5 + table[rows, head]
            expected[i, head] = score.softmax(0) @ v[:, head]
    found = window_attention(qkv, table, 3, 0, "reference")
    torch.testing.assert_close(found.view(9, 2, 2), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "sdpa", NATIVE])
def test_shifted_windows_keep_the_borders_apart(backend):
    """What wraps around from one border to the other is not seen: the last rows do not reach the first."""
    qkv, table = make((1, 32, 32), heads=1, dim=4)
    changed = qkv.clone()
    changed[:, 24:] += 1.0
    y, z = (window_attention(t, table, 16, 8, backend) for t in (qkv, changed))
    assert torch.allclose(y[:, :8], z[:, :8], rtol=0, atol=1e-12)
    assert not torch.allclose(y[:, 24:], z[:, 24:], atol=0.1)


def test_region_mask_of_one_window():
    mask = region_mask(4, 4, 4, 2)
    assert mask.shape == (1, 16, 16)
    assert (mask == 0).sum() == 4 * 4 * 4  # four quarters of four positions each


@pytest.mark.parametrize("backend", ["reference", "sdpa", NATIVE])
def test_training_after_inference_mode(backend):
    """Nothing made in inference mode is kept for later: such tensors cannot take part in training."""
    with torch.inference_mode():
        window_attention(*make(), 16, 8, backend)
    run(*make(), 16, 8, backend)


def test_relative_position_index_corners():
    index = relative_position_index(16)
    assert index.shape == (256, 256)
    assert (index[0, 255], index[255, 0], index[7, 7]) == (0, 31 * 31 - 1, 15 * 31 + 15)


@needs_native
def test_the_number_of_threads_changes_nothing():
    qkv, table = make((2, 48, 32), dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run(qkv, table, 16, 8, "native"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(value, other[name]), name


@pytest.mark.parametrize(
    ("size", "channels", "rows", "message"),
    [((1, 15, 16), 36, 961, "15×16"), ((1, 16, 16), 35, 961, "35"), ((1, 16, 16), 36, 960, "960")],
)
def test_sizes_that_do_not_fit_are_named(size, channels, rows, message):
    with pytest.raises(ValueError, match=message):
        window_attention(torch.zeros(*size, channels), torch.zeros(rows, 2), 16, 0)


def test_unknown_backends_are_named():
    with pytest.raises(ValueError, match="tritonn"):
        window_attention(*make(), 16, 0, "tritonn")


def test_a_missing_backend_says_why(monkeypatch):
    monkeypatch.setattr(loader, "unavailable", lambda: "no compiler was there")
    window_attention(*make(), 16, 0, "auto")
    with pytest.raises(RuntimeError, match="no compiler was there"):
        window_attention(*make(), 16, 0, "native")


def test_one_call_does_not_spoil_the_next():
    """Under inference mode, and while torch.export traces, tensors are of a kind that other calls cannot use."""
    qkv, table = torch.rand(1, 8, 8, 6), torch.rand(49, 1)
    expected = window_attention(qkv, table, 4, 2, "sdpa")
    with torch.inference_mode():
        window_attention(qkv, table, 4, 2, "sdpa")
    with FakeTensorMode():
        window_attention(torch.rand(1, 8, 8, 6), torch.rand(49, 1), 4, 2, "sdpa")
    table.requires_grad_()
    again = window_attention(qkv, table, 4, 2, "sdpa")
    again.sum().backward()
    torch.testing.assert_close(again.detach(), expected)
