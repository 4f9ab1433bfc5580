"""The command `train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.exits import telling

HARDWARE, DATA = "Hardware", "Data"


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the run, a TOML file.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the run. Default: the recipe's file name.")] = "",
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of training images, instead of the recipe's; may be repeated.", rich_help_panel=DATA),
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of ready-made inputs, instead of the recipe's, one for each --data; may be repeated.",
            rich_help_panel=DATA,
        ),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder of test sets, instead of the recipe's.", rich_help_panel=DATA)
    ] = None,
    validation_inputs: Annotated[
        Path | None,
        typer.Option(help="Folder of ready-made inputs of the test sets, of the same names.", rich_help_panel=DATA),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Start again, or continue from the run's last checkpoint.")
    ] = False,
    max_minutes: Annotated[
        float, typer.Option(min=0, help="Save and stop after this many minutes; 0: no limit.")
    ] = 0.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check recipe and images, estimate time and memory, and stop before training."),
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write logs for TensorBoard, too.")] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda. auto: CUDA if it is there.", rich_help_panel=HARDWARE)
    ] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices on each machine.", rich_help_panel=HARDWARE)] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Number of machines.", rich_help_panel=HARDWARE)] = 1,
    micro_batch: Annotated[
        int,
        typer.Option(
            min=0,
            help="Patches that a device takes at once, to save memory; 0: as in the recipe.",
            rich_help_panel=HARDWARE,
        ),
    ] = 0,
) -> None:
    """Train a network by a recipe, or continue an interrupted run.

    The same command continues where the run stopped. Ctrl-C saves and stops.

    Exit code: 0, finished, or stopped with everything saved; 1, an error, told in one line; 2, an option that does not
    exist or is out of range.
    """
    with telling():
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.training.loop import train as run_recipe
        from mambairv2.training.recipe import load_recipe
        from mambairv2.training.setup.options import Options

        keep_freed_memory()
        parsed = load_recipe(recipe)
        if micro_batch:
            parsed = parsed.model_copy(update={"train": parsed.train.model_copy(update={"micro_batch": micro_batch})})
        options = Options(
            run=runs / (name or recipe.stem),
            data=tuple(data or ()),
            inputs=tuple(inputs or ()),
            validation=validation,
            validation_inputs=validation_inputs,
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
