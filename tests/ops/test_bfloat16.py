"""Products of bfloat16: what float64 gives for factors that are rounded at the same places."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from mambairv2.ops.attention.window_attention import region_mask, relative_position_index
from mambairv2.ops.blocks.attention_block import attention_block
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.dense.depthwise import depthwise
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.library import loader

pytestmark = pytest.mark.skipif(loader.without_bfloat16() is not None, reason=str(loader.without_bfloat16()))

EPSILON = 2.0**-24
"""Of float32, that sums are rounded to."""
HALF_UNIT = 2.0**-9
"""Of bfloat16, relative to the largest of its octave."""


def rounded(tensor):
    """Return a tensor rounded to bfloat16, in float64."""
    return tensor.float().bfloat16().double()


def assert_near(found, expected, slack=1):
    """Compare within a quarter of the rounding of one factor.

    Norms and sums come before a rounding, in float32 here and in float64 there: some factors are rounded to the other
    side.
    """
    difference = (found.double() - expected).abs()
    assert difference.square().mean().sqrt() <= slack * HALF_UNIT / 4 * expected.square().mean().sqrt()
    assert difference.max() <= slack * 4 * HALF_UNIT * expected.abs().max()


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("inside", [1, 2, 15, 16, 17, 48, 175])
@pytest.mark.parametrize("outside", [1, 16, 19, 49, 144])
def test_a_map_is_the_sum_of_its_rounded_factors(rows, inside, outside):
    x = torch.randn(rows, inside + 3)[:, 1 : 1 + inside]  # begins anywhere, other tokens behind
    weight, bias, residual = torch.randn(outside, inside), torch.randn(outside), torch.randn(rows, outside)
    found = linear(x, weight, bias, residual=residual, products="bfloat16")
    expected = rounded(x) @ rounded(weight).T + bias.double() + residual.double()
    size = rounded(x).abs() @ rounded(weight).abs().T + bias.abs().double() + residual.abs().double()
    assert ((found.double() - expected).abs() <= (inside + 4) * EPSILON * size).all()


def test_a_map_with_all_its_parts():
    x, weight, bias = torch.randn(2, 70, 48), torch.randn(48, 48) / 7, torch.randn(48)
    gamma, beta, scale = torch.randn(3, 48)
    skip = torch.randn(2, 70, 48)
    given = {"norm": (gamma, beta, 1e-5), "gelu": True, "residual": x, "skip": skip, "scale": scale}
    found = linear(x, weight, bias, **given, products="bfloat16")
    normal = F.layer_norm(x.double(), (48,), gamma.double(), beta.double(), 1e-5)
    expected = F.gelu(rounded(normal) @ rounded(weight).T + bias.double()) + x.double() + (scale * skip).double()
    assert_near(found, expected)
    over = linear(x.clone(), weight, bias, **{**given, "residual": x.clone()}, overwrite=True, products="bfloat16")
    assert torch.equal(over, found)


def attention_given(heads, dim, size=1.0, shape=(1, 32, 48)):
    embed = heads * dim
    x, norm = torch.randn(*shape, embed), (torch.ones(embed), torch.zeros(embed), 1e-5)
    qkv = (size * torch.randn(3 * embed, embed) / embed**0.5, size * torch.randn(3 * embed))
    proj = (torch.randn(embed, embed) / embed**0.5, torch.randn(embed))
    return x, norm, qkv, torch.randn(31**2, heads), proj


def attention_rounded(x, norm, qkv, table, proj, shift):
    """Return the block in float64, with the factors of each product rounded."""
    batch, height, width, embed = x.shape
    heads, log2e = table.shape[1], 1.4426950408889634
    normal = rounded(F.layer_norm(x.double(), (embed,), *(t.double() for t in norm[:2]), norm[2]))
    q, k, v = (normal @ rounded(qkv[0]).T + qkv[1].double()).chunk(3, -1)
    q = q * log2e / (embed // heads) ** 0.5

    def windows(t):
        t = t.roll((-shift, -shift), (1, 2)).view(batch, height // 16, 16, width // 16, 16, heads, -1)
        return rounded(t.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, 256, embed // heads))

    scores = windows(q) @ windows(k).mT
    bias = table.double()[relative_position_index(16).flatten()].view(256, 256, heads).permute(2, 0, 1)
    mask = region_mask(height, width, 16, shift).double() if shift else torch.zeros(len(scores), 256, 256)
    scores += bias * log2e
    large = scores.abs().max() > 100
    scores += mask[:, None] * log2e
    if large:  # then the kernel takes the largest of each query off
        scores -= scores.amax(-1, keepdim=True)
    weights = rounded(((128 * scores).round() / 128).exp2())  # scores count 1/128
    mixed = weights @ windows(v) / weights.sum(-1, keepdim=True)
    mixed = mixed.view(batch, height // 16, width // 16, heads, 16, 16, -1).permute(0, 1, 4, 2, 5, 3, 6)
    mixed = rounded(mixed.reshape(x.shape).roll((shift, shift), (1, 2)))
    return x.double() + mixed @ rounded(proj[0]).T + proj[1].double()


@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize(("heads", "dim"), [(4, 12), (1, 1), (3, 5), (6, 29), (2, 33), (1, 70)])
@pytest.mark.parametrize("size", [0.3, 1.0, 12.0])
def test_attention_is_that_of_its_rounded_factors(heads, dim, size, shift):
    """With a size of 12 scores are in the hundreds, beyond what exp2 takes as it is."""
    given = attention_given(heads, dim, size)
    found = attention_block(*given, 16, shift, products="bfloat16")
    # A score of hundreds, of which a factor is rounded to the other side, moves all the weight to another key.
    assert_near(found, attention_rounded(*given, shift), slack=6 if size > 1 else 1)


def conv_given(mode, outside=48, inner=24, kernel=5, shape=(2, 21, 37, 48)):
    embed, first = shape[-1], inner * (2 if mode == "gated" else 1)
    norms = [(torch.rand(n) + 0.5, torch.randn(n), 1e-5) for n in (embed, inner)]
    maps = [(torch.randn(n, m) / m**0.5, torch.randn(n)) for n, m in ((first, embed), (outside, inner))]
    taps = torch.randn(inner, 1, kernel, kernel) / kernel, torch.randn(inner)
    return torch.randn(*shape), norms, maps, taps


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("mode", "inner"), [("gated", 24), ("gated", 7), ("gelu", 35), ("sigmoid", 48)])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 3, 70), (2, 21, 37)])
def test_a_conv_block_is_that_of_its_rounded_factors(mode, inner, kernel, size):
    x, norms, (first, last), taps = conv_given(mode, inner=inner, kernel=kernel, shape=(*size, 48))
    more = {"conv_norm": norms[1]} if mode == "gated" else {}
    more |= {} if mode == "sigmoid" else {"gelu": True, "last": last}
    found = conv_block(x, norms[0], first, taps, mode, **more, products="bfloat16")
    wide = [[t.double() if isinstance(t, torch.Tensor) else t for t in given] for given in (*norms, first, last, taps)]
    norm, conv_norm, first, last, taps = wide
    t = rounded(F.layer_norm(x.double(), (48,), *norm)) @ rounded(first[0]).T + first[1]
    t = t if mode == "sigmoid" else F.gelu(t)
    t = depthwise(t, *taps, mode, norm=tuple(conv_norm) if mode == "gated" else None)
    expected = t if mode == "sigmoid" else x.double() + rounded(t) @ rounded(last[0]).T + last[1]
    assert_near(found, expected)


def blocks():
    """Return the result of each operation that multiplies in bfloat16."""
    torch.manual_seed(0)
    x, norms, (first, last), taps = conv_given("gated")
    yield lambda: conv_block(x, norms[0], first, taps, "gated", conv_norm=norms[1], last=last, products="bfloat16")
    for size in (1.0, 12.0):
        given = attention_given(4, 12, size)
        yield lambda given=given: attention_block(*given, 16, 8, products="bfloat16")
    yield lambda: linear(x, *first, norm=norms[0], gelu=True, products="bfloat16")


def test_the_same_bits_on_any_number_of_threads_and_at_any_time():
    before = torch.get_num_threads()
    try:
        for block in blocks():
            torch.set_num_threads(1)
            expected = block()
            for threads in (1, 2, 3, 7, 16):
                torch.set_num_threads(threads)
                assert torch.equal(block(), expected)
    finally:
        torch.set_num_threads(before)


def test_gradients_and_other_dtypes_stay_as_they_are():
    x, weight = torch.randn(9, 20), torch.randn(20, 20)
    assert not torch.equal(linear(x, weight, products="bfloat16"), linear(x, weight))
    for wide, how in ((x.double(), {}), (x, {"backend": "torch"})):
        exact = weight.to(wide.dtype)
        assert torch.equal(linear(wide, exact, products="bfloat16", **how), linear(wide, exact, **how))
    grads = []
    for products in ("float32", "bfloat16"):
        given = x.clone().requires_grad_()
        y = linear(given, weight, products=products)
        y.square().sum().backward()
        grads.append((y.detach(), given.grad))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, weight, products="bfloat16"), linear(x, weight))


@pytest.mark.parametrize("shift", [0, 8])
def test_nan_stays_nan(shift):
    x, *given = attention_given(2, 12)
    x[0, 3, 3] = torch.nan
    found = attention_block(x, *given, 16, shift, products="bfloat16")
    assert found[0, 3, 3].isnan().all()
    assert found[0, 20, 20].isfinite().all()


def test_operators_are_as_torch_wants_them():
    x, norm, qkv, table, proj = attention_given(2, 8, shape=(1, 16, 16))
    gamma, beta, eps = norm
    given = (x, gamma, beta, *qkv, table, *proj, 0, eps, True, False)
    torch.library.opcheck(torch.ops.mambairv2.attention_block_native, given)
    torch.library.opcheck(torch.ops.mambairv2.linear_native, (x, qkv[0], qkv[1], *[None] * 5, 0.0, False, True))


def test_unknown_products_are_refused():
    with pytest.raises(ValueError, match="products are of float32 or bfloat16, got 'float16'"):
        linear(torch.randn(2, 3), torch.randn(4, 3), products="float16")


WITHOUT = """
import warnings
import torch
from mambairv2 import MambaIRv2, Restorer
from mambairv2.ops.library import loader

assert loader.isa() == "avx512", loader.isa()
model, image = MambaIRv2.from_config("light").eval(), torch.rand(3, 20, 20)
expected = Restorer(model, "cpu").restore(image)
with warnings.catch_warnings(record=True) as told:
    found = Restorer(model, "cpu", dtype="bfloat16").restore(image)
assert torch.equal(found, expected)
print(*(warning.message for warning in told))
with torch.inference_mode():
    model.set_products("bfloat16")(image[None])
"""


def test_another_instruction_set_has_none():
    environment = {**os.environ, "MAMBAIRV2_ISA": "avx512", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("computing in float32, for want of bfloat16: the processor has no AVX512-BF16")
    assert len(done.stdout.splitlines()) == 1
    assert "RuntimeError: no products of bfloat16: the processor has no AVX512-BF16" in done.stderr
