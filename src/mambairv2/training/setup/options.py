"""How and where a recipe is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How and where a recipe is run; hardware changes the result by rounding only."""

    run: Path
    """Folder of the run: checkpoints, log, averaged weights."""
    data: tuple[Path, ...] = ()
    """Training folders in place of the recipe's."""
    inputs: tuple[Path, ...] = ()
    """Folders of ready-made inputs in place of the recipe's, one for each training folder."""
    validation: Path | None = None
    """Folder of test sets in place of the recipe's."""
    validation_inputs: Path | None = None
    """Folder of ready-made inputs of the test sets in place of the recipe's."""
    accelerator: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA if it is there."""
    devices: int = 1
    """On each machine."""
    nodes: int = 1
    """Machines."""
    fresh: bool = False
    """Start again instead of resuming; earlier checkpoints of the run are removed."""
    dry_run: bool = False
    """Check and estimate, and stop before the first step."""
    max_minutes: float = math.inf
    """Save and stop after this time."""
    tensorboard: bool = False
    """Write logs for TensorBoard, too."""
    cache: Path = Path("runs/cache")
    """Folder that decoded images are kept in."""
