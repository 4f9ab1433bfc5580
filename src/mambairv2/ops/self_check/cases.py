"""What is checked: every operation that has several backends, on small inputs of odd sizes.

The names of tensors and their shapes are those of the operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mambairv2.ops import triton_support
from mambairv2.ops.attention.window_attention import window_attention
from mambairv2.ops.backend_choice import AttentionBackend, DenseBackend, ScanBackend
from mambairv2.ops.blocks.attention_block import attention_block
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.dense.depthwise import Mode
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.routing.noise import exponential
from mambairv2.ops.routing.prompts import choose_prompt, draw_prompt, likeliest_prompt, neighbour_order
from mambairv2.ops.scan.low_rank_scan import low_rank_scan
from mambairv2.ops.scan.selective_scan import selective_scan
from mambairv2.ops.self_check.comparison import Case, Values
from mambairv2.ops.triton_support import SCAN, WINDOW_ATTENTION

DENSE = ("torch", "native")
EPS = 1e-5

Parts = tuple[ScanBackend, AttentionBackend, DenseBackend]
TOGETHER: dict[str, Parts] = {
    "torch": ("chunked", "sdpa", "torch"),
    "native": ("native", "native", "native"),
    "triton": ("triton", "triton", "torch"),
}
"""The backends of scan, attention and the rest where an operation or a network needs several."""


class _Numbers:
    """Random inputs, the same on every machine."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def weight(self, outside: int, *inside: int) -> Tensor:
        return self.normal(outside, *inside) / torch.Size(inside).numel() ** 0.5

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def order(self, batch: int, length: int) -> Tensor:
        return torch.rand(batch, length, generator=self.generator).argsort(1)

    def labels(self, prompts: int, *shape: int) -> Tensor:
        return torch.randint(prompts, shape, generator=self.generator)


def kernel_cases() -> list[Case]:
    """Return the scan and window attention: the operations that have Triton kernels."""
    return [*_scan_cases(), *_attention_cases()]


def cases() -> list[Case]:
    """Return every operation, those of one name side by side."""
    more = [_low_rank_cases(), _linear_cases(), _attention_block_cases(), _conv_block_cases(), _routing_cases()]
    return [*kernel_cases(), *(case for group in more for case in group)]


def _scan_values(size: tuple[int, int, int], *extras: str) -> Values:
    length, channels, states = size
    numbers = _Numbers(length)
    values = {
        "u": numbers.normal(2, length, channels),
        "delta": numbers.normal(2, length, channels) - 1,
        "A": numbers.uniform(-4, -0.2, channels, states),
        "B": numbers.normal(2, length, states),
        "C": numbers.normal(2, length, states),
        "D": numbers.normal(channels),
        "delta_bias": numbers.uniform(0, 0.1, channels),
    }
    more = {"order": numbers.order(2, length), "prompt": numbers.normal(2, length, states)}
    return values | {name: more[name] for name in extras}


def _scan_cases() -> list[Case]:
    def run(values: Values, backend: str) -> tuple[Tensor, ...]:
        return selective_scan(**values, backend=backend)  # type: ignore[arg-type]

    backends = ("reference", "chunked", "native", "triton")
    # The interpreter takes a millisecond for what a GPU does in a nanosecond.
    largest = (21, 3, 2) if triton_support.INTERPRETED else (133, 21, 8)
    values = [_scan_values(largest, "order", "prompt"), _scan_values((1, 3, 2)), _scan_values((0, 3, 2))]
    if not triton_support.INTERPRETED:
        values += [_scan_values((37, 5, 3), "order"), _scan_values((16, 3, 16), "prompt")]
    return [Case(SCAN, backends, given, run) for given in values]


def _low_rank_cases() -> list[Case]:
    def run(values: Values, backend: str) -> tuple[Tensor, ...]:
        scan, _, dense = ("reference", "", "torch") if backend == "reference" else TOGETHER[backend]
        return (low_rank_scan(**values, backend=scan, dense=dense),)  # type: ignore[arg-type]

    def values(length: int, *extras: str) -> Values:
        numbers, scan = _Numbers(length), _scan_values((length, 21, 8), *extras)
        del scan["delta"]
        return scan | {"dt": numbers.normal(2, length, 3), "dt_weight": numbers.weight(21, 3)}

    backends = ("reference", "torch", "native")
    return [Case("low-rank scan", backends, values(*size), run) for size in ((133, "order"), (37,))]


def _attention_cases() -> list[Case]:
    def run(values: Values, backend: str, shift: int) -> tuple[Tensor, ...]:
        return (window_attention(**values, window=16, shift=shift, backend=backend),)  # type: ignore[arg-type]

    backends = ("reference", "sdpa", "native", "triton")
    found = []
    for shift, dim in ((8, 13), (0, 12)):
        numbers = _Numbers(dim)
        values = {"qkv": numbers.normal(1, 32, 16, 3 * 2 * dim), "bias_table": numbers.normal(31 * 31, 2)}
        found.append(Case(WINDOW_ATTENTION, backends, values, partial(run, shift=shift)))
    return found


def _linear_cases() -> list[Case]:
    def everything(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        x, weight, bias, gamma, beta, residual, skip, scale = values.values()
        more = {"residual": residual, "skip": skip, "scale": scale}
        return (linear(x, weight, bias, norm=(gamma, beta, EPS), gelu=True, **more, backend=backend),)  # type: ignore[arg-type]

    def plain(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        return (linear(values["x"][..., 2:-3], values["weight"], backend=backend),)

    numbers = _Numbers(1)
    whole = {"x": numbers.normal(2, 77, 21), "weight": numbers.weight(35, 21), "bias": numbers.normal(35)}
    whole |= {"gamma": numbers.normal(21), "beta": numbers.normal(21), "residual": numbers.normal(2, 77, 35)}
    whole |= {"skip": numbers.normal(2, 77, 35), "scale": numbers.normal(35)}
    strided = {"x": numbers.normal(2, 33, 24), "weight": numbers.weight(19, 19)}
    return [_dense("linear map", whole, everything), _dense("linear map", strided, plain)]


def _dense(operation: str, values: Values, run: Callable[[Values, DenseBackend], tuple[Tensor, ...]]) -> Case:
    return Case(operation, DENSE, values, run)  # type: ignore[arg-type]


def _attention_block_cases() -> list[Case]:
    def run(values: Values, backend: str, shift: int) -> tuple[Tensor, ...]:
        _, attention, dense = ("", "reference", "torch") if backend == "reference" else TOGETHER[backend]
        x, gamma, beta, qkv, qkv_bias, table, proj, proj_bias = values.values()
        given = (x, (gamma, beta, EPS), (qkv, qkv_bias), table, (proj, proj_bias), 16, shift)
        return (attention_block(*given, backend=attention, dense=dense),)  # type: ignore[arg-type]

    numbers = _Numbers(2)
    values = {"x": numbers.normal(1, 32, 16, 26), "gamma": numbers.normal(26), "beta": numbers.normal(26)}
    values |= {"qkv": numbers.weight(78, 26), "qkv_bias": numbers.normal(78), "bias_table": numbers.normal(31 * 31, 2)}
    values |= {"proj": numbers.weight(26, 26), "proj_bias": numbers.normal(26)}
    backends = ("reference", "torch", "native")
    return [Case("attention block", backends, values, partial(run, shift=shift)) for shift in (8, 0)]


def _conv_block_cases() -> list[Case]:
    def whole(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        x, gamma, beta, first, bias, taps, taps_bias, conv_gamma, conv_beta, last, last_bias, skip, scale = (
            values.values()
        )
        given = (x, (gamma, beta, EPS), (first, bias), (taps, taps_bias), "gated")
        more = {"skip": skip, "scale": scale, "last": (last, last_bias), "conv_norm": (conv_gamma, conv_beta, EPS)}
        return (conv_block(*given, gelu=True, **more, backend=backend),)  # type: ignore[arg-type]

    def alone(values: Values, backend: DenseBackend, mode: Mode) -> tuple[Tensor, ...]:
        x, gamma, beta, first, bias, taps, taps_bias = values.values()
        return (conv_block(x, (gamma, beta, EPS), (first, bias), (taps, taps_bias), mode, backend=backend),)

    def values(wide: int, channels: int, kernel: int) -> Values:
        found = {"x": numbers.normal(2, 9, 35, 11), "gamma": numbers.normal(11), "beta": numbers.normal(11)}
        found |= {"first": numbers.weight(wide, 11), "first_bias": numbers.normal(wide)}
        return found | {"taps": numbers.weight(channels, 1, kernel, kernel), "taps_bias": numbers.normal(channels)}

    numbers = _Numbers(3)
    gated = values(42, 21, 5) | {"conv_gamma": numbers.normal(21), "conv_beta": numbers.normal(21)}
    gated |= {"last": numbers.weight(11, 21), "last_bias": numbers.normal(11)}
    gated |= {"skip": numbers.normal(2, 9, 35, 11), "scale": numbers.normal(11)}
    modes: tuple[Mode, ...] = ("sigmoid", "gelu")
    return [
        _dense("conv block", gated, whole),
        *(_dense("conv block", values(21, 21, 3), partial(alone, mode=mode)) for mode in modes),
    ]


def _routing_cases() -> list[Case]:
    def choose(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        x, gamma, beta, first, bias, second, bias2, pool = values.values()
        return choose_prompt(x, (gamma, beta, EPS), (first, bias), (second, bias2), pool, backend=backend)

    def draw(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        logits, noise, pool = values["logits"], values["noise"].detach(), values["pool"]
        return (*draw_prompt(logits, noise, pool, 0.7, backend=backend), likeliest_prompt(logits, backend=backend))

    def sort(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        return (neighbour_order(values["label"], 9, backend=backend),)

    def noise(values: Values, backend: DenseBackend) -> tuple[Tensor, ...]:
        return (exponential(values["seeds"], 333, values["like"].dtype, backend=backend),)

    numbers = _Numbers(4)
    chosen = {"x": numbers.normal(2, 37, 21), "gamma": numbers.normal(21), "beta": numbers.normal(21)}
    chosen |= {"first": numbers.weight(7, 21), "first_bias": numbers.normal(7)}
    chosen |= {"second": numbers.weight(9, 7), "second_bias": numbers.normal(9), "pool": numbers.normal(9, 5)}
    drawn = {"logits": 3 * numbers.normal(2, 37, 9), "noise": numbers.uniform(0.05, 3, 2, 37, 9)}
    seeds = {"seeds": torch.tensor([3, -(2**62)]), "like": torch.empty(0)}
    return [
        _dense("routing", chosen, choose),
        _dense("routing", drawn | {"pool": numbers.normal(9, 5)}, draw),
        _dense("sort by prompt", {"label": numbers.labels(9, 2, 333)}, sort),
        _dense("noise", seeds, noise),
    ]
