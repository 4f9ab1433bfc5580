"""The command line: its commands. Torch is imported inside them, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from mambairv2.cli import data, export, info, models, train
from mambairv2.cli.analyze import app as analyze
from mambairv2.cli.check import command as check
from mambairv2.cli.measuring import evaluate, reproduce
from mambairv2.cli.restore import command as restore

app = typer.Typer(
    name="mambairv2",
    help="Restore images with MambaIRv2: super-resolution, denoising, removal of JPEG artifacts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # here, since it takes a while to import

        print(f"mambairv2 {version('mambairv2')}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # errors that matter are raised, and told in our words
    # Let OpenMP threads sleep while they wait. Threads that spin starve other processes and then wait for them: beside
    # one busy process on two cores, a restoration took 30 s with spinning threads and 5 s with sleeping ones.
    # GNU's pool still spins for some microseconds, which bridges the time between two operations.
    # The variables are read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


app.command()(restore.restore)
app.command()(info.info)
app.command()(check.check)
app.command()(models.models)
app.command()(export.export)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(reproduce.reproduce)
_data = typer.Typer(help="Training images.", no_args_is_help=True)
_data.command()(data.check)
app.add_typer(_data, name="data")
app.add_typer(analyze.app, name="analyze")
