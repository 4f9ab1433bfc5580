"""An operator that does the work of several gives what they give, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from mambairv2.ops.blocks.attention_block import attention_block
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.library import loader
from mambairv2.ops.routing.prompts import choose_prompt
from mambairv2.ops.scan.low_rank_scan import low_rank_scan

pytestmark = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}


def tensors(dtype: torch.dtype, *sizes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*size, dtype=dtype) / max(1, size[-1]) ** 0.5 for size in sizes]


def close(found: Tensor, expected: Tensor, times: float = 1) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= times * BOUNDS[found.dtype] * expected.abs().max()


def agree(run: Callable[..., Tensor], given: Sequence[Tensor]) -> None:
    """Compare `run(backend, *given)` between the kernels and plain torch: one pass, values and all gradients."""
    with torch.no_grad():
        close(run("native", *given), run("torch", *given))
    results = []
    for backend in ("torch", "native"):
        leaves = [t.clone().requires_grad_() for t in given]
        y = run(backend, *leaves)
        y.backward(torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y))
        results.append([y.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in leaves)])
    for i, (expected, found) in enumerate(zip(*results, strict=True)):
        close(found, expected, 10 if i else 1)  # a gradient goes through several float32 sums


def block_of_attention(dtype: torch.dtype, image: tuple[int, int, int], embed: int, heads: int) -> list[Tensor]:
    weights = (3 * embed, embed), (3 * embed,), (embed, embed), (embed,), (961, heads)
    x, gamma, beta, qkv, bias, proj, bias2, table = tensors(dtype, (*image, embed), *[(embed,)] * 2, *weights)
    return [16 * x, gamma, beta, qkv, bias, table, proj, bias2]


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shift", [0, 8])
@pytest.mark.parametrize(
    ("image", "embed", "heads"), [((1, 16, 16), 48, 4), ((2, 32, 48), 60, 6), ((1, 32, 16), 174, 6)]
)
def test_attention_block(image, embed, heads, shift, dtype):
    def run(backend: str, x, gamma, beta, qkv, bias, table, proj, bias2) -> Tensor:
        given = (x, (gamma, beta, 1e-5), (qkv, bias), table, (proj, bias2), 16, shift)
        attention = "native" if backend == "native" else "reference"
        return attention_block(*given, backend=attention, dense=backend)

    agree(run, block_of_attention(dtype, image, embed, heads))


IMAGES = [(1, 1, 1), (1, 32, 32), (2, 33, 65), (1, 5, 70)]


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("image", IMAGES)
class TestConvBlock:
    @pytest.mark.parametrize(("hidden", "skip"), [(14, False), (14, True), (200, True)])
    def test_gated(self, image, kernel, hidden, skip, dtype):
        size, wide = (*image, 20), 2 * hidden
        inner = (hidden, 1, kernel, kernel), (hidden,), (hidden,), (hidden,)
        more = (size, (20,)) if skip else ()
        given = tensors(dtype, size, (20,), (20,), (wide, 20), (wide,), *inner, (20, hidden), (20,), *more)

        def run(backend: str, x, gamma, beta, first, bias, taps, bias2, gamma2, beta2, last, bias3, *more) -> Tensor:
            more = dict(zip(("skip", "scale"), more, strict=True)) if skip else {}
            norms = {"conv_norm": (gamma2, beta2, 1e-5), "last": (last, bias3)}
            given = (x, (gamma, beta, 1e-5), (first, bias), (taps, bias2), "gated")
            return conv_block(*given, gelu=True, **norms, **more, backend=backend)

        agree(run, given)

    @pytest.mark.parametrize("mode", ["sigmoid", "gelu"])
    @pytest.mark.parametrize("hidden", [5, 348])
    def test_alone(self, image, kernel, mode, hidden, dtype):
        given = tensors(
            dtype, (*image, 20), (20,), (20,), (hidden, 20), (hidden,), (hidden, 1, kernel, kernel), (hidden,)
        )

        def run(backend: str, x, gamma, beta, first, bias, taps, bias2) -> Tensor:
            return conv_block(x, (gamma, beta, 1e-5), (first, bias), (taps, bias2), mode, backend=backend)

        agree(run, given)


@pytest.mark.parametrize(("hidden", "mode"), [(348, "gelu"), (96, "sigmoid"), (40, "gated")])
def test_conv_block_does_not_depend_on_threads(hidden, mode):
    """More threads take thinner bands, down to eight rows."""
    inner = hidden // 2 if mode == "gated" else hidden
    x, gamma, beta, first, bias, taps, bias2 = tensors(
        torch.float32, (1, 67, 130, 20), (20,), (20,), (hidden, 20), (hidden,), (inner, 1, 5, 5), (inner,)
    )
    threads, found = torch.get_num_threads(), []
    with torch.no_grad():
        try:
            for n in (1, 3, 16):
                torch.set_num_threads(n)
                found.append(conv_block(x, (gamma, beta, 1e-5), (first, bias), (taps, bias2), mode, backend="native"))
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize(("length", "middle", "prompts"), [(300, 16, 64), (1, 20, 5), (64, 58, 128)])
def test_choice(length, middle, prompts, dtype):
    x, gamma, beta, first, bias, second, bias2, pool = tensors(
        dtype, (2, length, 48), (48,), (48,), (middle, 48), (middle,), (prompts, middle), (prompts,), (prompts, 8)
    )
    given = (x, (gamma, beta, 1e-5), (first, bias), (second, bias2), pool)
    with torch.no_grad():
        label, prompt = choose_prompt(*given, backend="native")
        expected, _ = choose_prompt(*given, backend="torch")
    assert torch.equal(label, expected)
    assert torch.equal(prompt, pool[label])


def attentive(
    backend: str,
    order: Tensor | None,
    x: Tensor,
    norm: Sequence[Tensor],
    into: Sequence[Tensor],
    taps: Sequence[Tensor],
    scan: Sequence[Tensor],
    out: Sequence[Tensor],
) -> Tensor:
    """The attentive scan as the network makes it; the scan and the last map write over their input."""
    project, weight, steps, A, D, prompt = scan
    gamma, beta, out_weight, out_bias = out
    u = conv_block(x, (*norm, 1e-5), into, taps, "sigmoid", backend=backend).flatten(1, 2)
    dt, B, C = linear(u, project, backend=backend).split((weight.shape[1], A.shape[1], A.shape[1]), dim=-1)
    scan_backend = "native" if backend == "native" else "reference"
    given = (u, dt, weight, -A.abs(), B, C + prompt, D, steps)
    y = low_rank_scan(*given, order=order, backend=scan_backend, dense=backend)
    more = {"norm": (gamma, beta, 1e-5), "residual": x.flatten(1, 2), "overwrite": True, "backend": backend}
    return linear(y, out_weight, out_bias, **more).view(x.shape)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize(("dim", "rank"), [(37, 1), (48, 3), (20, 16), (20, 17)])
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("routed", [False, True])
def test_attentive_scan(image, dim, rank, routed, dtype):
    states, tokens, vector = 8, image[1] * image[2], (dim,)
    given = tensors(
        dtype,
        *((*image, dim), vector, vector, (dim, dim), vector, (dim, 1, 3, 3), vector),
        *((rank + 2 * states, dim), (dim, rank), vector, (dim, states), vector, (image[0], tokens, states)),
        *(vector, vector, (dim, dim), vector),
    )
    order = torch.stack([torch.randperm(tokens) for _ in range(image[0])]) if routed else None

    def run(backend: str, x: Tensor, *rest: Tensor) -> Tensor:
        return attentive(backend, order, x, rest[:2], rest[2:4], rest[4:6], rest[6:12], rest[12:])

    agree(run, given)


def test_low_rank_scan_in_segments():
    """More threads than blocks of channels: the scan runs twice over each token, and both times reads u."""
    u, dt, weight, A, B, C, D, bias = tensors(
        torch.float32, (1, 4096, 20), (1, 4096, 3), (20, 3), (20, 8), (1, 4096, 8), (1, 4096, 8), (20,), (20,)
    )
    rest, threads = (dt, weight, -A.abs(), B, C, D, bias), torch.get_num_threads()
    order = torch.randperm(4096)[None]
    expected = low_rank_scan(u.clone(), *rest, order=order)
    try:
        torch.set_num_threads(8)
        found = low_rank_scan(u.clone(), *rest, order=order)
    finally:
        torch.set_num_threads(threads)
    close(found, expected)


def test_opcheck():
    def both(name: str, given: Sequence[object]) -> None:
        operator = getattr(torch.ops.mambairv2, name)
        torch.library.opcheck(operator, (*given, False))
        real = [t.clone().requires_grad_() if isinstance(t, Tensor) and t.is_floating_point() else t for t in given]
        torch.library.opcheck(operator, (*real, True))

    both("attention_block_native", (*block_of_attention(torch.float32, (1, 16, 16), 24, 2), 8, 1e-5, False))
    x, gamma, beta, first, bias, taps, bias2, gamma2, beta2, last, bias3 = tensors(
        torch.float32, (1, 9, 9, 20), (20,), (20,), (28, 20), (28,), (14, 1, 3, 3), *[(14,)] * 3, (20, 14), (20,)
    )
    given = (x, gamma, beta, first, bias, taps, bias2, gamma2, beta2)
    both("conv_block_native", (*given, last, bias3, None, None, 1e-5, 1e-5, 0, True, False))
    both("conv_block_native", (*given, None, None, None, None, 1e-5, 1e-5, 0, True, False))
    route = tensors(torch.float32, (1, 30, 20), (20,), (20,), (7, 20), (7,), (9, 7), (9,), (9, 8))
    torch.library.opcheck(torch.ops.mambairv2.choose_prompt_native, (*route, 1e-5))
