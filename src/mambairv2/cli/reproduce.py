"""The command `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.measuring import check_outputs, load_weights, names, tell_score, weight_files
from mambairv2.cli.told import told


def reproduce(
    data: Annotated[Path, typer.Option(help="Folder of test sets, as for evaluate.", exists=True)],
    weights: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders of them, or packaged names; by default all packaged ones."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Markdown document.")] = Path("reproduction.md"),
    sets: Annotated[str, typer.Option(help="Only these, by commas; by default all that are there.")] = "",
    tile: Annotated[int, typer.Option(min=0, help="Largest side of a tile, a multiple of 16; 0: whole.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Fill the paper's tables with our figures and the differences, for the weights and test sets at hand."""
    with told():
        from mambairv2.evaluation.paper_tables import Network, document, measure_all
        from mambairv2.files.atomic import write_whole
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.weights.packaged import pretrained

        keep_freed_memory()
        check_outputs([output])
        networks = []
        for name in weight_files(weights or list(pretrained())):
            model, task = load_weights(name, device)
            assert model is not None
            networks.append(Network(name, task, model))
        means = measure_all(networks, data, names(sets), tile, limit, tell_score)
        notes = [f"**Only the first {limit} images of each set: not comparable.**"] if limit else []
        notes += [f"In tiles of {tile} pixels."] if tile else []
        typer.echo("counting what the paper's networks cost", err=True)
        write_whole(output, document(networks, means, data, notes))
        typer.echo(f"{output}: weights measured: {len(networks)}, means over test sets: {len(means)}")
