"""The command line: its commands. Torch is imported inside them, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mambairv2.cli import data, export, info, models, train, web
from mambairv2.cli.analyze import app as analyze
from mambairv2.cli.check import command as check
from mambairv2.cli.measuring import evaluate, reproduce
from mambairv2.cli.options_once import Command
from mambairv2.cli.restore import command as restore
from mambairv2.cli.streams import guarded, say


class _Commands(TyperGroup):
    """The commands, with standard streams that take everything."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as in typer)
        with guarded():
            return super().main(*args, **kwargs)


app = typer.Typer(
    name="mambairv2",
    cls=_Commands,
    help="Restore images with MambaIRv2: super-resolution, denoising, removal of JPEG artifacts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # here, since it takes a while to import

        say(f"mambairv2 {version('mambairv2')}")
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


app.command(cls=Command)(restore.restore)
app.command(cls=Command)(info.info)
app.command(cls=Command)(check.check)
app.command(cls=Command)(models.models)
app.command(cls=Command)(export.export)
app.command(cls=Command)(train.train)
app.command(cls=Command)(evaluate.evaluate)
app.command(cls=Command)(reproduce.reproduce)
app.command(cls=Command)(web.web)
_data = typer.Typer(help="Training images.", no_args_is_help=True)
_data.command(cls=Command)(data.check)
app.add_typer(_data, name="data")
app.add_typer(analyze.app, name="analyze")
