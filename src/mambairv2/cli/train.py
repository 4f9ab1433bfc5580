"""The command `train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from mambairv2.cli.told import told


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file of the run.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the run; by default the recipe's.")] = "",
    runs: Annotated[Path, typer.Option(help="Folder that runs are kept in.")] = Path("runs"),
    data: Annotated[list[Path] | None, typer.Option(help="Training images, in place of the recipe's.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Folder of test sets, in place of the recipe's.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes CUDA if it is there.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    micro_batch: Annotated[int, typer.Option(min=0, help="Patches at once on a device; 0: as the recipe says.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Start again, or go on where the run is.")] = False,
    max_minutes: Annotated[float, typer.Option(help="Save and end after this time; 0: no limit.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all and estimate, train nothing.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too.")] = False,
) -> None:
    """Train a network by a recipe; the same command goes on with an interrupted run."""
    with told():
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.training.loop import train as run_recipe
        from mambairv2.training.recipe import load_recipe
        from mambairv2.training.setup import Options

        keep_freed_memory()
        parsed = load_recipe(recipe)
        if micro_batch:
            parsed = parsed.model_copy(update={"train": parsed.train.model_copy(update={"micro_batch": micro_batch})})
        options = Options(
            run=runs / (name or recipe.stem),
            data=tuple(data or ()),
            validation=validation,
            accelerator=device,
            devices=devices,
            nodes=nodes,
            fresh=fresh,
            dry_run=dry_run,
            max_minutes=max_minutes or math.inf,
            tensorboard=tensorboard,
            cache=runs / "cache",
        )
        run_recipe(parsed, options)
