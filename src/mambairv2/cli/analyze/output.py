"""What every analysis leaves: NAME.json, NAME.npz and NAME.png in a folder, each whole or not at all."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mambairv2.cli.streams import say
from mambairv2.files.atomic import write_whole
from mambairv2.installation import install_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

Folder = typer.Option("--output", "-o", help="Folder for the arrays, the JSON and the picture; it is made.")
Image = typer.Argument(help="Image file, as the network takes it: a small one for super-resolution.", dir_okay=False)
Weights = typer.Option(help="Packaged name, weight file, or folder of a training run.")
Side = typer.Option(min=16, help="Largest side in pixels; of a larger image the middle is taken.")
DPI = 110


def save(
    folder: Path,
    name: str,
    figures: Mapping[str, object],
    arrays: Mapping[str, npt.NDArray[np.generic]],
    draw: Callable[[], Figure],
) -> None:
    """Write the three files and print their paths; without matplotlib a line on stderr tells how to get the picture."""
    import numpy as np

    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    written = [(f"{name}.json", (json.dumps(figures, indent=1) + "\n").encode()), (f"{name}.npz", packed.getvalue())]
    try:
        picture = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a letter of a name that the font lacks is drawn as a box
            draw().savefig(picture, format="png", dpi=DPI)
        written.append((f"{name}.png", picture.getvalue()))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        say(f"no picture: matplotlib is not installed; {install_extra('plots')}", sys.stderr)
    for file, content in written:
        write_whole(folder / file, content)
        say(f"wrote {folder / file}")
