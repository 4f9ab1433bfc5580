"""The command `analyze complexity`; it needs no torch."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mambairv2.analysis.complexity import Share, by_kind, by_module, count, input_size, published_extra
from mambairv2.analysis.plots import complexity as plots
from mambairv2.cli.analyze.output import Folder, save
from mambairv2.cli.exits import telling
from mambairv2.cli.streams import say
from mambairv2.evaluation.literature import COSTS
from mambairv2.files.names import shown
from mambairv2.network.complexity import Item
from mambairv2.network.config import VARIANTS, MambaIRv2Config, variant
from mambairv2.weights.read_config import read_config

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PAPER = {"light": "MambaIRv2-light", "small": "MambaIRv2-S", "base": "MambaIRv2-B", "large": "MambaIRv2-L"}
FULL = 1280, 720
"""Width and height of the output that published figures are for."""


def complexity(
    weights: Annotated[
        str, typer.Option(help="Count this network alone: a packaged name, weight file, or folder of a training run.")
    ] = "",
    size: Annotated[str, typer.Option(help="Width and height of the output, in pixels.")] = "1280x720",
    output: Annotated[Path, Folder] = Path("analysis"),
) -> None:
    """Count parameters and multiply-accumulates (MACs) exactly, by module and by kind of step.

    Without --weights it counts the networks of the paper at every scale, beside the published figures.

    Exit code: 0, written; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        width, height = _size(size)
        if weights:
            networks = {shown(weights): read_config(weights)}
            theirs: dict[str, tuple[int, float | None]] = {}
        else:
            networks = {f"{PAPER[name]} ×{s}": variant(name, upscale=s) for name in VARIANTS for s in (2, 3, 4)}
            theirs = {f"{method} ×{s}": found for s, methods in COSTS.items() for method, found in methods.items()}
        counted = {name: count(config, (height, width)) for name, config in networks.items()}
        entries = [_entry(name, networks[name], items, (height, width)) for name, items in counted.items()]
        for entry in entries:
            known = theirs.get(str(entry["name"]))
            if known and (width, height) == FULL:
                entry["published figures"] = _published(*known)
            say(_line(entry))
        if weights:
            for kind, share in by_kind(counted[shown(weights)]).items():
                say(f"  {kind}: {share.parameters:,} parameters, {share.macs / 1e9:,.3f} G MACs")
        others = [{"name": n, **_published(*f)} for n, f in theirs.items() if n not in networks]
        save(
            output,
            "complexity",
            {"output": [width, height], "networks": entries, "other networks, as published": others},
            {f"{name}: {of}": values for name, items in counted.items() for of, values in _arrays(items).items()},
            lambda: plots.draw({name: by_kind(items) for name, items in counted.items()}),
        )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})", text)
    if not found:
        raise ValueError(f"--size is WIDTHxHEIGHT in pixels, such as 1280x720, not {text!r}")
    return int(found[1]), int(found[2])


def _published(thousands: int, giga: float | None) -> dict[str, object]:
    return {"parameters, thousands": thousands, "MACs, 10⁹": giga}


def _entry(name: str, config: MambaIRv2Config, items: list[Item], pixels: tuple[int, int]) -> dict[str, object]:
    total, (height, width) = sum(by_kind(items).values(), start=Share()), input_size(config, pixels)
    return {
        "name": name,
        "input": [width, height],
        "parameters": total.parameters,
        "macs": total.macs,
        "macs by the published rules": total.published,
        "what these rules add": published_extra(items),
        "by kind": {kind: asdict(share) for kind, share in by_kind(items).items()},
        "by module": {module: asdict(share) for module, share in by_module(items, 5).items()},
    }


def _line(entry: dict[str, Any]) -> str:
    text = f"{entry['name']}: {entry['parameters']:,} parameters, {entry['macs'] / 1e9:,.1f} G MACs"
    text += f", {entry['macs by the published rules'] / 1e9:,.1f} G by the published rules"
    known = entry.get("published figures")
    return text + (f" (published {known['MACs, 10⁹']} G)" if known and known["MACs, 10⁹"] else "")


def _arrays(items: list[Item]) -> dict[str, npt.NDArray[np.generic]]:
    import numpy as np

    return {
        "step": np.array([f"{item.module} {item.step}" for item in items]),
        "parameters": np.array([item.parameters for item in items]),
        "macs": np.array([item.macs for item in items]),
        "published": np.array([item.published for item in items]),
    }
