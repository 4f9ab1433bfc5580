"""`python -m mambairv2.cli`, as torchrun starts it."""

from mambairv2.cli.main import app

app()
