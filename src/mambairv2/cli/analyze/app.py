"""The sub-commands of `analyze`."""

from __future__ import annotations

import typer

from mambairv2.cli.analyze import complexity, erf, routing, scan

app = typer.Typer(help="Study a network: its cost, its routing, its scan, its receptive field.", no_args_is_help=True)
app.command()(complexity.complexity)
app.command()(routing.routing)
app.command()(scan.scan)
app.command()(erf.erf)
