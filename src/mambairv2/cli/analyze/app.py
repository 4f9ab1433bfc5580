"""The sub-commands of `analyze`."""

from __future__ import annotations

import typer

from mambairv2.cli.analyze import complexity, erf, routing, scan
from mambairv2.cli.options_once import Command

app = typer.Typer(help="Study a network: its cost, its routing, its scan, its receptive field.", no_args_is_help=True)
app.command(cls=Command)(complexity.complexity)
app.command(cls=Command)(routing.routing)
app.command(cls=Command)(scan.scan)
app.command(cls=Command)(erf.erf)
