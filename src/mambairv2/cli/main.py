"""The command line: its commands. Torch is imported inside them, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mambairv2.cli import data, export, info, models, train, web
from mambairv2.cli.analyze import app as analyze
from mambairv2.cli.check import command as check
from mambairv2.cli.measuring import evaluate, reproduce
from mambairv2.cli.restore import command as restore
from mambairv2.cli.streams import guarded, say


class _Commands(TyperGroup):
    """The commands, with standard streams that take everything."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as in typer)
        with guarded():
            return super().main(*args, **kwargs)


class _Command(TyperCommand):
    """A command that refuses an option that is given twice, of which only the last value would count."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (as in typer)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            single = not (getattr(option, "multiple", False) or getattr(option, "is_flag", False))
            if option.param_type_name == "option" and single and order.count(option) > 1:
                ctx.fail(f"{option.opts[0]} is given {order.count(option)} times; give it once")
        return super().parse_args(ctx, args)


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


app.command(cls=_Command)(restore.restore)
app.command(cls=_Command)(info.info)
app.command(cls=_Command)(check.check)
app.command(cls=_Command)(models.models)
app.command(cls=_Command)(export.export)
app.command(cls=_Command)(train.train)
app.command(cls=_Command)(evaluate.evaluate)
app.command(cls=_Command)(reproduce.reproduce)
app.command(cls=_Command)(web.web)
_data = typer.Typer(help="Training images.", no_args_is_help=True)
_data.command(cls=_Command)(data.check)
app.add_typer(_data, name="data")
app.add_typer(analyze.app, name="analyze")
