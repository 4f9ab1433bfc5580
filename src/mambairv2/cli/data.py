"""The command `data check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.exits import USAGE, telling
from mambairv2.cli.streams import say


def check(
    folder: Annotated[Path, typer.Argument(help="Folder of training images; subfolders count.")],
    against: Annotated[
        Path | None, typer.Option(help="Folder of test images, none of which may be among the training images.")
    ] = None,
    patch: Annotated[int, typer.Option(min=1, help="Side of an input patch, as in the recipe.")] = 64,
    scale: Annotated[int, typer.Option(min=1, max=4, help="Enlargement, as in the recipe.")] = 2,
) -> None:
    """Find training images that are broken, too small, there twice, or in a test set as well.

    Exit code: 0, no faults; 1, faults, one line each; 2, there are no images.
    """

    def tick(done: int, total: int) -> None:
        if done and done % 500 == 0:
            say(f"{done} of {total} images read", sys.stderr)

    with telling(USAGE):
        from mambairv2.training.data.image_check import check_images, table

        count, faults = check_images(folder, against, patch, scale, tick)
    if faults:
        for line in table(faults).splitlines():
            say(line)
    say(f"{count} image{'' if count == 1 else 's'}, {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    if faults:
        raise typer.Exit(1)
