"""How the results of `check` are shown: a table, lines about what is wrong or missing, and a file."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from mambairv2.ops.self_check.comparison import Result

REMEDIES = {
    "native": "set MAMBAIRV2_NO_NATIVE=1, which is slower but right",
    "triton": "`auto` does without it on this machine; set no backend by name",
}
"""What to do about a wrong backend until it is mended."""


def print_table(results: Iterable[Result]) -> None:
    """Print a row for each backend, operation and dtype."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("backend", "operation", "dtype"):
        table.add_column(name, no_wrap=True)
    for name in ("largest\ndifference", "\nallowed", "\nms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    before = ""
    for result in results:
        name = _name(result)
        if before and name != before:
            table.add_section()
        difference, allowed = _number(result.difference, ".1e"), _number(result.allowed, ".0e")
        verdict = "agrees" if result.agrees else "[bold red]WRONG[/]"
        numbers = (difference, allowed, _number(result.milliseconds, ".2f"))
        table.add_row("" if name == before else name, result.operation, result.dtype, *numbers, verdict)
        before = name
    Console().print(table)


def faults(results: Iterable[Result]) -> list[str]:
    """Return a line for each backend that is wrong: the first fault, how many more, and what to do."""
    wrong: dict[str, list[Result]] = {}
    for result in results:
        if not result.agrees:
            wrong.setdefault(_name(result), []).append(result)
    lines = []
    for name, found in wrong.items():
        first, more = found[0], len(found) - 1
        others = f" (and {more} more)" if more else ""
        remedy = REMEDIES.get(first.backend, "install another version of PyTorch")
        operation = " ".join(part for part in (first.operation, first.dtype) if part)
        lines.append(
            f"{name} is wrong in {operation}: {first.fault}{others}; {remedy}, and report it with the file of --json"
        )
    return lines


def as_json(results: Iterable[Result], missing: dict[str, str]) -> str:
    """Return everything as JSON; numbers that are not finite are null."""
    from importlib.metadata import version

    rows = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(result).items()}
        | {"agrees": result.agrees}
        for result in results
    ]
    machine = {"platform": platform.platform(), "processor": platform.machine(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("mambairv2", "torch")}
    return json.dumps({**machine, **versions, "missing": missing, "results": rows}, indent=1) + "\n"


def _name(result: Result) -> str:
    return result.backend if result.where == "cpu" else f"{result.backend} ({result.where})"


def _number(value: float, form: str) -> str:
    if math.isfinite(value):
        return "0" if value == 0 else format(value, form)
    return "inf" if math.isinf(value) else ""
