"""Comparing a backend with the reference: the outputs with and without gradients, and every gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

Values = dict[str, Tensor]

ALLOWED = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3.2e-2, torch.int64: 0.0}
"""The largest difference that rounding explains, as a share of the largest number of the tensor."""
TIMED_CALLS, TIMED_SECONDS = 3, 0.3


@dataclass(frozen=True)
class Case:
    """One operation, on small inputs."""

    operation: str
    """What it is called in the table; several cases may share it."""
    backends: tuple[str, ...]
    """Those that have it; the first is the reference."""
    values: Values
    """Its inputs, on the CPU; those of real numbers have gradients and are cast to the dtype that is checked."""
    run: Callable[[Values, str], tuple[Tensor, ...]]
    """Runs a backend on such inputs; an input may be overwritten where it needs no gradient."""


@dataclass(frozen=True)
class Result:
    """How far a backend is from the reference."""

    backend: str
    where: str
    """The instruction set or the device."""
    operation: str
    dtype: str
    difference: float
    """The largest of all tensors, as a share of the largest number expected; infinite for a number that is not."""
    allowed: float
    milliseconds: float
    """The shortest of up to three calls without gradients."""
    worst: str
    """The tensor with the largest difference: `output 0`, `gradient of u`, …"""
    error: str | None = None
    """Why there is no comparison."""

    @property
    def agrees(self) -> bool:
        """Whether the backend is right."""
        return self.error is None and self.difference <= self.allowed

    @property
    def fault(self) -> str:
        """What is wrong, in one line."""
        if self.error is not None:
            return self.error
        return f"{self.worst} differs by {self.difference:.2g} of its largest number, {self.allowed:.2g} is allowed"


def check_all(
    cases: Iterable[Case], backend: str, where: str, device: torch.device, dtypes: Sequence[torch.dtype]
) -> list[Result]:
    """Compare a backend with the reference in every operation that it has; cases of one operation follow each other."""
    results = []
    for operation, group in groupby(cases, lambda case: case.operation):
        its = [case for case in group if backend in case.backends]
        real = any(value.is_floating_point() for case in its for value in case.values.values())
        kinds = [*dtypes] if real else [torch.int64]
        results += [_check(operation, its, backend, where, device, dtype) for dtype in kinds if its]
    return results


def verdict(results: Iterable[Result]) -> dict[str, str | None] | None:
    """Return for each operation None, or what is wrong with it; None in all where a full GPU left it open."""
    found = {result.operation: None if result.agrees else result.fault for result in results}
    is_open = any(fault is not None and fault.startswith("OutOfMemoryError") for fault in found.values())
    return None if is_open else found


def _check(
    operation: str, cases: list[Case], backend: str, where: str, device: torch.device, dtype: torch.dtype
) -> Result:
    kind, allowed = str(dtype).removeprefix("torch."), ALLOWED[dtype]
    try:
        compared = [_differences(case, backend, device, dtype) for case in cases]
        worst, difference = max((pair for one in compared for pair in one.items()), key=lambda pair: pair[1])
        taken = _milliseconds(cases[0], backend, device, dtype)
    except Exception as error:  # whatever a compiler or a driver raises is what the check is there to show
        text = f"{type(error).__name__}: {(str(error).strip() or 'no text').splitlines()[0]}"
        return Result(backend, where, operation, kind, math.inf, allowed, math.nan, "", text)
    return Result(backend, where, operation, kind, difference, allowed, taken, worst)


def _differences(case: Case, backend: str, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Compare every tensor with the reference in float64 on the CPU, from the same inputs."""
    values = _cast(case.values, torch.device("cpu"), dtype)
    expected = _tensors(case, case.backends[0], _cast(values, torch.device("cpu"), torch.float64))
    found = _tensors(case, backend, _cast(values, device, dtype))
    return {name: _difference(found[name], right) for name, right in expected.items()}


def _cast(values: Values, device: torch.device, dtype: torch.dtype) -> Values:
    return {k: v.to(device, dtype if v.is_floating_point() else v.dtype, copy=True) for k, v in values.items()}


def _tensors(case: Case, backend: str, values: Values) -> Values:
    """Return the outputs without gradients, the outputs with gradients, and the gradients, by name."""
    with torch.no_grad():
        plain = case.run({name: value.clone() for name, value in values.items()}, backend)
    leaves = {name: value.requires_grad_() for name, value in values.items() if value.is_floating_point()}
    outputs = case.run(values, backend)
    tensors = {f"output {i}": t.detach() for i, t in enumerate(plain)}
    tensors |= {f"output {i} in training": t.detach() for i, t in enumerate(outputs)}
    losses = [(y * _weights(y)).sum().float() for y in outputs if y.requires_grad]
    if losses:
        total = torch.stack(losses).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True, allow_unused=True)
        tensors |= {f"gradient of {name}": t for name, t in zip(leaves, gradients, strict=True)}
    return tensors


def _weights(y: Tensor) -> Tensor:
    return torch.linspace(-1, 2, y.numel(), device=y.device, dtype=torch.float32).view_as(y).to(y.dtype)


def _difference(found: Tensor, right: Tensor) -> float:
    found = found.cpu()
    if found.shape != right.shape:
        return math.inf
    if not found.is_floating_point():
        return 0.0 if torch.equal(found, right) else math.inf
    if not right.numel():
        return 0.0
    if not found.isfinite().all():
        return math.inf
    return ((found.double() - right).abs().max() / right.abs().max().clamp(min=1e-3)).item()


def _milliseconds(case: Case, backend: str, device: torch.device, dtype: torch.dtype) -> float:
    shortest, begin = math.inf, time.perf_counter()
    for call in range(TIMED_CALLS):
        if call and time.perf_counter() - begin > TIMED_SECONDS:
            break
        values = _cast(case.values, device, dtype)
        start = time.perf_counter()
        with torch.no_grad():
            for output in case.run(values, backend):
                output.cpu()  # waits for a GPU
        shortest = min(shortest, time.perf_counter() - start)
    return 1000 * shortest
