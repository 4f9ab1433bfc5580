"""What `evaluate` and `reproduce` share: weights, names of test sets, files to be written, progress."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mambairv2.evaluation.evaluate import Score
    from mambairv2.network.model import MambaIRv2
    from mambairv2.tasks import TaskName

Sets = typer.Option(help="Names of test sets, separated by commas. Default: those of the paper that are there.")
Tile = typer.Option(
    min=0, help="Largest side of a tile in input pixels, a multiple of 16. Default: 0, the image is not cut."
)
Limit = typer.Option(min=1, help="Measure only the first images of each set.")
Device = typer.Option(help="auto, cpu, cuda, cuda:1 ...")


def tell_score(name: str, score: Score) -> None:
    """Print an image's figures on stderr, as progress."""
    typer.echo(f"{name}: {score.image} {score.psnr:.2f} dB {score.ssim:.4f}", err=True)


def names(text: str) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_outputs(paths: Iterable[Path]) -> None:
    """Make the folders of files that will be written, and see that they can be: before the work, not after it."""
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def weight_files(given: list[str]) -> list[str]:
    """Replace folders by the weight files below them; raises ValueError for a folder without any."""
    files = []
    for name in given:
        folder = Path(name)
        found = sorted(str(p) for suffix in ("safetensors", "pth") for p in folder.rglob(f"*.{suffix}"))
        if folder.is_dir() and not found:
            raise ValueError(f"{folder}: has no .safetensors or .pth files")
        files += found if folder.is_dir() else [name]
    return files


def load_weights(weights: str, device: str) -> tuple[MambaIRv2 | None, TaskName]:
    """Load weights and find out their task: from their metadata, or else from their scale and channels.

    Without weights the model is None and the task sr. Raises WeightsError or ValueError for weights or a device that
    cannot be used.
    """
    if not weights:
        return None, "sr"
    from mambairv2.ops import slow_note
    from mambairv2.restoration.device import pick_device
    from mambairv2.weights.load import load_model, read_metadata

    weights, *more = weight_files([weights])
    if more:
        raise ValueError(f"there are several weight files, {weights} and {more[0]} among them; give one")
    place = pick_device(device)
    model = load_model(weights, device=place)
    if note := slow_note(place.type):
        typer.echo(note, err=True)
    said = read_metadata(weights).get("task")
    if said == "sr" or model.config.upscale > 1:
        return model, "sr"
    if said == "denoise":
        return model, "denoise"
    if said == "jpeg" or model.config.in_channels == 1:
        return model, "jpeg"
    return model, "denoise"
