"""Operations that may write over their input at inference: the same results, and never where a gradient is wanted."""

from __future__ import annotations

import pytest
import torch

from mambairv2.ops.dense.linear import linear
from mambairv2.ops.library import loader
from mambairv2.ops.scan.low_rank_scan import low_rank_scan
from mambairv2.ops.scan.selective_scan import selective_scan

pytestmark = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))


def make(length, dtype=torch.float64, channels=13, states=5, rank=3, batch=2):
    draw = lambda *shape: torch.randn(*shape, dtype=dtype)  # noqa: E731
    order = torch.stack([torch.randperm(length) for _ in range(batch)])
    u, dt, weight = draw(batch, length, channels), draw(batch, length, rank), draw(channels, rank)
    A, B, C = -draw(channels, states).exp(), draw(batch, length, states), draw(batch, length, states)
    return [u, dt, weight, A, B, C, draw(channels), draw(channels)], order


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 257])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_scan_of_low_rank_is_the_scan(length, ordered, threads):
    given, order = make(length)
    order = order if ordered else None
    u, dt, weight, *rest = given
    expected, _ = selective_scan(u, dt @ weight.T, *rest, order=order, backend="reference")
    torch.set_num_threads(threads)
    try:
        found = low_rank_scan(u.clone(), *given[1:], order=order)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(low_rank_scan(*given, order=order, backend="reference"), expected, atol=1e-12, rtol=0)


def test_the_scan_keeps_its_input_for_a_gradient():
    given, order = make(40)
    kept = given[0].clone()
    given[0].requires_grad_()
    y = low_rank_scan(*given, order=order)
    assert torch.equal(given[0], kept)
    y.sum().backward()
    with torch.no_grad():
        low_rank_scan(given[0].detach(), *given[1:], order=order)
    assert not torch.equal(given[0], kept)


def test_an_order_that_is_none_is_refused():
    given, order = make(9)
    order[0, 0] = 9
    with pytest.raises(ValueError, match="order must hold 0 to 8"):
        low_rank_scan(*given, order=order)


@pytest.mark.parametrize("number", range(1, 8))
def test_tensors_that_do_not_fit_are_refused(number):
    given, _ = make(9)
    given[number] = given[number][..., :-1]
    with pytest.raises((ValueError, RuntimeError)):
        low_rank_scan(*given)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_over_its_own_input_gives_the_same_bits(rows, dtype):
    x, residual, weight = (torch.randn(*shape, dtype=dtype) for shape in ((rows, 20), (rows, 20), (20, 20)))
    bias, gamma, beta = torch.randn(3, 20, dtype=dtype)
    norm = (gamma, beta, 1e-5)
    expected = linear(x, weight, bias, norm=norm, residual=residual)
    found = linear(x, weight, bias, norm=norm, residual=residual, overwrite=True)
    assert torch.equal(found, expected)
    assert found.data_ptr() == x.data_ptr()


def test_a_map_keeps_its_input_where_it_must():
    x = torch.randn(70, 20)
    kept, weight = x.clone(), torch.randn(20, 20)
    norm = (torch.ones(20), torch.zeros(20), 1e-5)
    linear(x, weight, overwrite=True)  # no norm: blocks would be read after they are written
    linear(x, torch.randn(21, 20), norm=norm, overwrite=True)
    linear(x, weight.clone().requires_grad_(), norm=norm, overwrite=True)
    linear(x, weight, norm=norm)
    assert torch.equal(x, kept)


def test_operators_say_what_they_change():
    given, order = make(21, torch.float32)
    torch.library.opcheck(torch.ops.mambairv2.selective_scan_native_, (*given, order))
    x, weight, vector = torch.randn(9, 20), torch.randn(20, 20), torch.randn(20)
    given = (x, weight, vector, vector, vector, None, None, None, 1e-5, False, False)
    torch.library.opcheck(torch.ops.mambairv2.linear_native_, given)
