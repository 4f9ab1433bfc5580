"""The state of a run: everything that a checkpoint holds and a step changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision

from mambairv2.network.model import MambaIRv2
from mambairv2.training.checkpoint import Content
from mambairv2.training.data.patches import Patches
from mambairv2.training.distillation import Teacher
from mambairv2.training.ema import Averages
from mambairv2.training.recipe import Recipe

_COUNTERS = ("iteration", "skipped", "attempt", "seconds", "cpu_seconds", "losses")


@dataclass
class State:
    """Everything that changes in a run, and the few things that change it."""

    fabric: Fabric
    precision: Precision
    recipe: Recipe
    run: Path
    network: MambaIRv2
    model: torch.nn.Module  # the network with its loss, as Fabric wraps it
    optimizer: torch.optim.Optimizer
    patches: Patches
    ema: Averages
    teacher: Teacher | None = None
    iteration: int = 0
    skipped: int = 0
    streak: int = 0  # bad steps in a row
    attempt: int = 0  # roll-backs so far; other patches are drawn after each
    seconds: float = 0.0  # spent in steps
    cpu_seconds: float = 0.0  # of all threads of this process, spent in steps
    losses: list[float] = field(default_factory=list)  # since the last line of the log

    def content(self) -> Content:
        """Return what a checkpoint holds."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "model": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "basis": self.teacher and self.teacher.basis,
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    def restore(self, content: Content) -> None:
        """Go back to a checkpoint of the same network."""
        self.network.load_state_dict(content["model"])  # type: ignore[arg-type]
        self.optimizer.load_state_dict(content["optimizer"])  # type: ignore[arg-type]
        self.precision.load_state_dict(content["precision"])  # type: ignore[arg-type]
        for name, tensor in content["ema"].items():  # type: ignore[attr-defined]
            self.ema[name].copy_(tensor)
        if self.teacher and (basis := content.get("basis")) is not None:
            self.teacher.basis = basis.to(self.fabric.device)  # type: ignore[attr-defined]
        for name in _COUNTERS:
            setattr(self, name, content.get(name, 0.0))  # earlier versions counted no CPU time
        self.streak = 0
        self.reseed()

    def reseed(self) -> None:
        """Draw patches by the seed and the number of roll-backs."""
        self.patches.seed = (self.recipe.seed, self.attempt)
