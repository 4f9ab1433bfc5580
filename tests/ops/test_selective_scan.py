"""Every backend of the selective scan against the plain loop: outputs, last states and all gradients."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mambairv2.ops.library import loader
from mambairv2.ops.scan.selective_scan import invert, selective_scan

MISSING = loader.unavailable()
needs_native = pytest.mark.skipif(MISSING is not None, reason=f"no native kernels: {MISSING}")
NATIVE = pytest.param("native", marks=needs_native)
LENGTHS = (0, 1, 2, 15, 16, 17, 33, 63, 64, 65, 100)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.fixture
def poisoned():
    """Fresh memory holds NaN, so that whoever reads what was not written shows it."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.zeros(1).new_empty(3, 3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def make(length, batch=2, channels=5, states=3, dtype=torch.float64, strong=False, seed=0):
    """Arguments of the scan by name; `strong` has steps up to 50 and decays up to 100."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    def uniform(low, high, *shape):
        return (low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)).to(dtype)

    return {
        "u": normal(batch, length, channels),
        "delta": uniform(0, 50, batch, length, channels) if strong else normal(batch, length, channels),
        "A": uniform(-100, -1, channels, states) if strong else uniform(-4, -0.2, channels, states),
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "D": normal(channels),
        "delta_bias": uniform(0, 0.1, channels),
        "order": torch.rand(batch, length, generator=g).argsort(1),
        "prompt": normal(batch, length, states),
    }


def run(values, backend, **options):
    """Return y, the last state, and the gradients of all but the order, for a fixed weighting of y."""
    leaves = {
        name: value.detach().clone().requires_grad_()
        for name, value in values.items()
        if value is not None and name != "order"
    }
    y, last = selective_scan(**{**values, **leaves}, backend=backend, **options)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    grads = torch.autograd.grad((y * weight).sum(), list(leaves.values()), materialize_grads=True)
    return {"y": y, "last": last, **{f"d{name}": grad for name, grad in zip(leaves, grads, strict=True)}}


def check(values, backend, **options):
    """Compare a backend with the reference, computed in float64."""
    exact = {name: v if v is None or name == "order" else v.double() for name, v in values.items()}
    expected = run(exact, "reference", **options)
    tolerance = TOLERANCE[values["u"].dtype]
    for name, found in run(values, backend, **options).items():
        right = expected[name]
        assert found.dtype == values["u"].dtype, name
        assert found.shape == right.shape, name
        assert found.isfinite().all(), name
        if found.numel():
            assert (found.double() - right).abs().max() <= tolerance * right.abs().max().clamp(min=1e-3), name


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", LENGTHS)
def test_outputs_and_gradients(backend, dtype, length, poisoned):
    check(make(length, dtype=dtype), backend)


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
@pytest.mark.parametrize("left_out", [(), ("order",), ("prompt",), ("order", "prompt")])
@pytest.mark.parametrize("softplus", [True, False])
def test_options(backend, left_out, softplus, poisoned):
    values = {name: None if name in left_out else value for name, value in make(37).items()}
    check(values, backend, delta_softplus=softplus)


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("softplus", [True, False])
def test_strong_decay(backend, dtype, softplus, poisoned):
    check(make(100, dtype=dtype, strong=True), backend, delta_softplus=softplus)


@needs_native
def test_slow_decays_do_not_drift():
    """Decays just below 1 over 65,536 tokens: an error of exp that does not vanish at 0 would add up."""
    torch.manual_seed(0)
    length, channels, states = 65536, 16, 8
    tokens = [torch.randn(1, length, n, dtype=torch.float64) for n in (channels, channels, states, states)]
    u, delta, B, C = tokens[0], tokens[1] / 2 - 9, *tokens[2:]
    A = -torch.arange(1.0, states + 1, dtype=torch.float64).repeat(channels, 1)
    given = (u, delta, A, B, C, torch.ones(channels).double(), torch.zeros(channels).double())
    expected, _ = selective_scan(*given, backend="native")
    found, _ = selective_scan(*(t.float() for t in given), backend="native")
    assert (found - expected).abs().max() <= 6e-7 * expected.abs().max()  # 1.9e-7 was found


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
@pytest.mark.parametrize(("step", "A"), [(0.0, -1.0), (-40.0, -1.0), (1000.0, -1000.0), (1e-30, -1e-30)])
def test_extreme_steps(backend, step, A):
    """No step, a softplus that vanishes, one that overflows where written as log(1 + exp)."""
    values = make(20, dtype=torch.float32)
    values["delta"] = torch.full_like(values["delta"], step)
    values["A"] = torch.full_like(values["A"], A)
    check(values, backend)


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
@settings(max_examples=20, deadline=None)
@example(length=59, batch=3, channels=27, states=1, dtype=torch.float32, left_out={"order"}, softplus=False)
@given(
    length=st.integers(0, 70),
    batch=st.integers(1, 3),
    channels=st.integers(1, 35),
    states=st.integers(1, 17),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    left_out=st.sets(st.sampled_from(["order", "prompt"])),
    softplus=st.booleans(),
)
def test_any_shape(backend, length, batch, channels, states, dtype, left_out, softplus):
    values = make(length, batch, channels, states, dtype)
    if not softplus:  # a step below zero makes the state grow: past float32's range, by the reference too
        values["delta"] = values["delta"].abs()
    values = {name: None if name in left_out else value for name, value in values.items()}
    check(values, backend, delta_softplus=softplus)


@pytest.mark.parametrize("backend", ["reference", "chunked", NATIVE])
@pytest.mark.parametrize("batch", [1, 2])
def test_memory_layouts(backend, batch):
    """Slices of one projection, transposed and expanded tensors give what contiguous ones give."""
    values = make(19, batch, channels=6, states=4)
    expected, _ = selective_scan(**values, backend=backend)
    joined = torch.cat([values["delta"], values["B"], values["C"]], -1)
    delta, B, C = joined.split((6, 4, 4), -1)
    u = values["u"].transpose(1, 2).contiguous().transpose(1, 2)
    prompt = values["prompt"].repeat_interleave(2, dim=-1)[..., ::2]
    A, order = values["A"].T.contiguous().T, values["order"].T.contiguous().T
    found, _ = selective_scan(
        u, delta, A, B, C, values["D"], values["delta_bias"], order=order, prompt=prompt, backend=backend
    )
    assert torch.equal(found, expected)
    same = values["B"][:, :1].expand(-1, 19, -1)
    one, _ = selective_scan(**{**values, "B": same}, backend=backend)
    other, _ = selective_scan(**{**values, "B": same.contiguous()}, backend=backend)
    assert torch.equal(one, other)


def test_the_loop_is_the_equation():
    """The reference, once more, number by number: order picks the token, the prompt belongs to the step."""
    v = make(9, batch=1, channels=2, states=3)
    expected, h = torch.zeros(9, 2, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    for step, token in enumerate(v["order"][0].tolist()):
        for d in range(2):
            dt = torch.log1p(torch.exp(v["delta"][0, token, d] + v["delta_bias"][d]))
            y = v["D"][d] * v["u"][0, token, d]
            for n in range(3):
                drive = dt * v["B"][0, token, n] * v["u"][0, token, d]
                h[d, n] = torch.exp(dt * v["A"][d, n]) * h[d, n] + drive
                y = y + (v["C"][0, token, n] + v["prompt"][0, step, n]) * h[d, n]
            expected[token, d] = y
    y, last = selective_scan(**v, backend="reference")
    torch.testing.assert_close(y[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last[0], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "chunked", NATIVE])
def test_gradients_are_those_of_finite_differences(backend):
    values = make(4, batch=1, channels=2, states=2)
    names = [name for name in values if name != "order"]

    def scan(*tensors):
        return selective_scan(**dict(zip(names, tensors, strict=True)), order=values["order"], backend=backend)[0]

    assert torch.autograd.gradcheck(scan, [values[name].requires_grad_() for name in names])


@pytest.mark.parametrize("backend", ["reference", "chunked", NATIVE])
def test_no_gradient_through_the_last_state(backend):
    values = make(5)
    values["u"].requires_grad_()
    y, last = selective_scan(**values, backend=backend)
    assert y.requires_grad
    assert not last.requires_grad


@pytest.mark.parametrize("backend", ["chunked", NATIVE])
def test_only_some_need_gradients(backend):
    values = make(21)
    values["prompt"].requires_grad_()
    y, _ = selective_scan(**values, backend=backend)
    expected, _ = selective_scan(**values, backend="reference")
    found, right = (torch.autograd.grad(t.square().sum(), values["prompt"])[0] for t in (y, expected))
    torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)


@needs_native
@pytest.mark.parametrize("length", [0, 1, 63, 150, 1000])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("channels", "states"), [(40, 8), (348, 16)])  # with the second, blocks go in groups
def test_the_number_of_threads_changes_nothing(channels, states, batch, length):
    values = make(length, batch, channels=channels, states=states, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run(values, "native"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(value, other[name]), name


@needs_native
def test_native_limits_are_told():
    with pytest.raises(ValueError, match="65"):
        selective_scan(**make(3, states=65), backend="native")
    with pytest.raises(ValueError, match="float32 or float64"):
        selective_scan(**{**make(3), "B": make(3)["B"].float()}, backend="native")
    with pytest.raises(ValueError, match="float32 or float64"):
        selective_scan(**make(3, dtype=torch.bfloat16), backend="native")


def test_invert():
    order = make(30)["order"]
    steps = torch.arange(30).expand(2, -1)
    assert torch.equal(order.gather(1, invert(order)), steps)
    assert torch.equal(invert(order).gather(1, order), steps)


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "delta_bias", "order", "prompt"])
def test_shapes_that_do_not_fit_are_named(name):
    values = make(6)
    values[name] = values[name][:-1]
    with pytest.raises(ValueError, match=f"^{name} must be"):
        selective_scan(**values)


def test_an_order_is_of_int64():
    values = make(6)
    with pytest.raises(ValueError, match=r"order must be int64, got torch\.int32"):
        selective_scan(**{**values, "order": values["order"].int()})


@needs_native
@pytest.mark.parametrize("wrong", [-1, 5])
def test_native_scan_refuses_tokens_that_are_not_there(wrong):
    tokens = torch.rand(1, 5, 3)
    states = torch.rand(1, 5, 2)
    order = torch.tensor([[0, 1, 2, 3, wrong]])
    rest = (-torch.rand(3, 2), states, states, torch.rand(3), torch.rand(3))
    with pytest.raises(ValueError, match="order must hold 0 to 4"):
        selective_scan(tokens, tokens, *rest, order=order, backend="native")
