"""What an evaluation covers: test sets, protocols, tiles and self-ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mambairv2.evaluation.protocol import Protocol
from mambairv2.images.folders import images_below, is_image
from mambairv2.tasks import TASKS, Level, TaskName


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    data: Path
    """A folder of test sets, or one test set."""
    task: TaskName
    scale: int = 1
    sets: Sequence[str] = ()
    """Names of test sets; empty: see `folders`."""
    levels: Sequence[Level] = ()
    """σ of the noise in levels of 255, JPEG qualities, or names of strengths; empty takes those of the task."""
    grey: bool = False
    """Whether test images are turned grey first."""
    tile: int = 0
    """Largest side of a tile in input pixels, a multiple of 16; 0 takes images whole."""
    ensemble: bool = False
    limit: int | None = None
    """Only the first images of each set."""
    inputs: Path | None = None
    """Ready-made inputs of the test sets, in place of the task's damage; see `Protocol`."""
    margin: bool = False
    """Whether images get the mirrored margin that `restore` gives them; published figures are without."""

    def protocols(self) -> list[Protocol]:
        """Return one protocol a level, or one for ready-made inputs."""
        channels = 1 if self.grey else 3
        if self.inputs is not None:
            return [Protocol(self.task, self.scale, 0, channels, self.inputs)]
        return [
            Protocol(self.task, self.scale, level, channels) for level in self.levels or TASKS[self.task].levels or (0,)
        ]

    def folders(self) -> list[Path]:
        """Return the folders of the test sets.

        They are those that `sets` names, or else the usual ones of the task, or else `data` itself if it is a test set,
        or else each folder in it. Raises FileNotFoundError for a set or a folder that is not there.
        """
        if self.sets:
            return [find_set(self.data, name) for name in self.sets]
        if not self.data.is_dir():
            raise FileNotFoundError(f"no folder {self.data}")
        if self.inputs is not None and not self.inputs.is_dir():
            raise FileNotFoundError(f"no folder {self.inputs}")
        usual = [self.data / name for name in TASKS[self.task].sets if (self.data / name).is_dir()]
        if usual or _is_set(self.data):
            return usual or [self.data]
        return [folder for folder in _subfolders(self.data) if images_below(folder)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _is_set(folder: Path) -> bool:
    """Tell whether a folder is a test set rather than a folder of them; one without images is, for its error."""
    if (folder / "HR").is_dir() or any(map(is_image, folder.iterdir())):
        return True
    return not images_below(folder)


def find_set(data: Path, name: str) -> Path:
    """Return the folder of a test set; raises FileNotFoundError if it is not there."""
    if not (data / name).is_dir():
        if not data.is_dir():
            raise FileNotFoundError(f"no test set {name} in {data}; that folder does not exist")
        there = ", ".join(folder.name for folder in _subfolders(data)) or "no folders"
        raise FileNotFoundError(f"no test set {name} in {data}; it has {there}")
    return data / name
