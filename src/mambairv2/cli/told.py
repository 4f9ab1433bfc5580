"""A user's mistake, told in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told(code: int = 1) -> Iterator[None]:
    """Tell a user's mistake in a line and exit with a code; other errors are ours and keep their traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("lightning_fabric", "pydantic", "tensorboard", "tomli"):
            raise
        text = f"{error.name} is not installed; `pip install 'mambairv2[train]'`"
    except OSError as error:
        from mambairv2.images.errors import explain

        text = f"{error.filename}: {explain(error)}" if error.filename else str(error)
    except (ValueError, RuntimeError) as error:
        text = str(error)
    else:
        return
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(code)
