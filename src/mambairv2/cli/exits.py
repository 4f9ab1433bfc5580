"""How a command ends: its exit codes, errors in one line, and signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from mambairv2.cli.streams import say
from mambairv2.installation import install_extra

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def complain(message: str) -> None:
    """Print an error in one line."""
    say(f"error: {message}", sys.stderr)


@contextmanager
def refusing() -> Iterator[None]:
    """End the command in one line: with exit code 2 where its options, weights or names are wrong, a ValueError.

    With exit code 1 where memory is short.
    """
    try:
        yield
    except ValueError as error:
        complain(str(error))
        raise typer.Exit(USAGE) from None
    except MemoryError as error:
        complain(str(error) or "not enough memory")
        raise typer.Exit(FAILED) from None


@contextmanager
def telling(code: int = FAILED) -> Iterator[None]:
    """End the command with `code` and one line for mistakes of the user, and with 130 for Ctrl-C.

    Mistakes are ValueError, OSError, MemoryError, RuntimeError, and packages of the extra `train` that are missing.
    Other errors are ours and keep their traceback.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):  # which are RuntimeErrors
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("lightning_fabric", "pydantic", "tensorboard", "tomli"):
            raise
        complain(f"{error.name} is not installed; {install_extra('train')}")
        raise typer.Exit(code) from None
    except OSError as error:
        from mambairv2.images.errors import explain

        complain(f"{error.filename}: {explain(error)}" if error.filename else str(error))
        raise typer.Exit(code) from None
    except (ValueError, RuntimeError, MemoryError) as error:
        complain(str(error))
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def stoppable() -> Iterator[None]:
    """Unwind on Ctrl-C and SIGTERM, so that temporary files are removed, and exit with the code of the signal."""

    def stop(*_: object) -> NoReturn:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted; finished files are kept, and the same command continues")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
