"""Evaluating weights on test sets: which sets, which protocols, in tiles or with self-ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mambairv2.evaluation.evaluate import Restore, Score, evaluate_set, tiled
from mambairv2.evaluation.literature import SETS, published
from mambairv2.evaluation.protocol import Protocol
from mambairv2.evaluation.report import Result
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.self_ensemble import self_ensemble
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
    """Largest side of a tile in input pixels; 0 takes images whole."""
    ensemble: bool = False
    limit: int | None = None

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


def measure(
    model: MambaIRv2 | None, plan: Plan, seen: Callable[[str, Score], None] = lambda name, score: None
) -> list[Result]:
    """Measure a network, or the baseline alone, by a plan; `seen` is called with every image's score.

    Raises FileNotFoundError for missing test sets.
    """
    results = []
    restore: Restore | None = model
    if restore is not None and plan.tile:
        restore = tiled(restore, plan.scale, plan.tile)
    if restore is not None and plan.ensemble:
        restore = self_ensemble(restore)
    channels = model.config.in_channels if model is not None else 3
    device = next(model.parameters()).device if model is not None else torch.device("cpu")
    light = model is None or model.config.ffn == "gated"
    for protocol in plan.protocols():
        for folder in plan.folders():
            name = folder.name

            def tell(score: Score, name: str = f"{name}, {protocol}") -> None:
                seen(name, score)

            scores = evaluate_set(restore, folder, protocol, channels, device, plan.limit, tell)
            others = published(plan.task, plan.scale, protocol.level, protocol.channels, light, name)
            results.append(Result(name, protocol, scores, others))
    return results
