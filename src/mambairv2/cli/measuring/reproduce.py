"""The command `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.exits import telling
from mambairv2.cli.measuring.shared import (
    Device,
    Limit,
    Sets,
    Tile,
    check_outputs,
    choose_weights,
    names,
    tell_score,
    weight_files,
)
from mambairv2.cli.streams import say
from mambairv2.files.atomic import write_whole
from mambairv2.weights.packaged import pretrained


def reproduce(
    data: Annotated[Path, typer.Option(help="Folder of test sets, as for evaluate.", exists=True)],
    weights: Annotated[
        list[str] | None,
        typer.Argument(help="Weight files, folders of them, or packaged names. Default: all packaged weights."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Markdown file to write; an existing one is replaced.")
    ] = Path("reproduction.md"),
    sets: Annotated[str, Sets] = "",
    tile: Annotated[int, Tile] = 0,
    limit: Annotated[int | None, Limit] = None,
    device: Annotated[str, Device] = "auto",
) -> None:
    """Write the tables of the paper with your figures and the differences.

    It measures the weights and the test sets that are there, and lists what is missing.

    Exit code: 0, written; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        from mambairv2.evaluation.plan import find_set

        check_outputs([output])
        chosen = [choose_weights(name) for name in weight_files(weights or list(pretrained()))]
        for name in names(sets):
            find_set(data, name)

        from mambairv2.evaluation.paper_tables import Network, document, measure_all

        networks = [Network(one.name, one.task, one.load(device)) for one in chosen]
        means = measure_all(networks, data, names(sets), tile, limit, tell_score)
        notes = [f"Restored in tiles of {tile} input pixels."] if tile else []
        write_whole(output, document(networks, means, data, notes, limit))
        say(f"{output}: {len(networks)} weights, {len(means)} means over test sets")
