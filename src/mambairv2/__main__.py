"""`python -m mambairv2`."""

from mambairv2.cli.main import app

app()
