"""What an evaluation covers: test sets, protocols, tiles and self-ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mambairv2.evaluation.literature import SETS
from mambairv2.evaluation.protocol import Protocol
from mambairv2.tasks import TaskName

LEVELS: dict[TaskName, tuple[int, ...]] = {"sr": (0,), "denoise": (15, 25, 50), "jpeg": (10, 30, 40)}


@dataclass(frozen=True)
class Plan:
    """What to measure; empty values take the task's usual ones."""

    data: Path
    task: TaskName
    scale: int = 1
    sets: Sequence[str] = ()
    levels: Sequence[int] = ()
    grey: bool = False
    tile: int = 0
    """Largest side of a tile in input pixels, a multiple of 16; 0 takes images whole."""
    ensemble: bool = False
    limit: int | None = None
    """Only the first images of each set."""

    def protocols(self) -> list[Protocol]:
        """Return one protocol a level."""
        channels = 1 if self.grey else 3
        return [Protocol(self.task, self.scale, level, channels) for level in self.levels or LEVELS[self.task]]

    def folders(self) -> list[Path]:
        """Return the folders of the test sets; raises FileNotFoundError for one that is not there."""
        if self.sets:
            return [find_set(self.data, name) for name in self.sets]
        usual = [self.data / name for name in SETS[self.task] if (self.data / name).is_dir()]
        return usual or [self.data]


def find_set(data: Path, name: str) -> Path:
    """Return the folder of a test set; raises FileNotFoundError if it is not there."""
    if not (data / name).is_dir():
        there = ", ".join(sorted(path.name for path in data.glob("*/"))) if data.is_dir() else "no such folder"
        raise FileNotFoundError(f"no test set {name} in {data} ({there})")
    return data / name
