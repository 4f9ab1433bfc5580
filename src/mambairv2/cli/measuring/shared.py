"""What `evaluate` and `reproduce` share: options, weights, files to be written, progress. Needs no torch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mambairv2.cli.streams import say
from mambairv2.network.config import MambaIRv2Config
from mambairv2.tasks import TASKS, TaskName
from mambairv2.training.settings import PAIRS
from mambairv2.weights.read_config import read_config, read_metadata

if TYPE_CHECKING:
    from mambairv2.evaluation.evaluate import Score
    from mambairv2.network.model import MambaIRv2

Sets = typer.Option(help="Names of test sets, separated by commas. Default: those of the paper that are there.")
Tile = typer.Option(min=0, help="Largest side of a tile in input pixels, a multiple of 16; 0 restores images whole.")
Limit = typer.Option(min=1, help="Measure only the first images of each set.")
Device = typer.Option(help="auto, cpu, cuda, cuda:1 ...")


def known_task(task: str | None) -> str | None:
    """Refuse a task that `TASKS` does not have, as a wrong option."""
    if task is not None and task not in TASKS:
        raise typer.BadParameter(f"no task {task!r}; choose {', '.join(TASKS)}")
    return task


def tell_score(name: str, score: Score) -> None:
    """Print an image's figures on stderr, as progress."""
    say(f"{name}: {score.image} {score.psnr:.2f} dB {score.ssim:.4f}", sys.stderr)


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


@dataclass(frozen=True)
class ChosenWeights:
    """Weights to be measured: known from the file's header, loaded later."""

    name: str
    """A packaged name or a file."""
    config: MambaIRv2Config
    task: TaskName
    """What they are for; `PAIRS` if they were trained on ready-made inputs."""

    def load(self, device: str) -> MambaIRv2:
        """Load torch and the network; a line on stderr says where the device does without its fast kernels.

        Raises WeightsError for weights that are damaged and ValueError for a device that is not there.
        """
        from mambairv2.ops import slow_note
        from mambairv2.restoration.device import pick_device
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.weights.load import load_model

        keep_freed_memory()
        place = pick_device(device)
        if note := slow_note(place.type):
            say(note, sys.stderr)
        return load_model(self.name, device=place)


def choose_weights(given: str) -> ChosenWeights:
    """Find weights, or the only ones in a folder, and their task: from their metadata, or else scale and channels.

    Raises WeightsError or ValueError for weights that are missing, several, or of another network.
    """
    name, *more = weight_files([given])
    if more:
        raise ValueError(f"there are several weight files, {name} and {more[0]} among them; give one")
    config, said = read_config(name), read_metadata(name).get("task")
    if said == PAIRS:
        return ChosenWeights(name, config, said)
    guess = "sr" if config.upscale > 1 else "jpeg" if config.in_channels == 1 else "denoise"
    fits = said in TASKS and config.upscale in TASKS[said].scales
    return ChosenWeights(name, config, said if said and fits else guess)
