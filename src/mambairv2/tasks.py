"""What can be restored: the three tasks, their enlargements and the names of their packaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["sr", "denoise", "jpeg"]


@dataclass(frozen=True)
class Task:
    """One task."""

    summary: str
    scales: tuple[int, ...]
    """Enlargements there are networks for."""


TASKS: dict[TaskName, Task] = {
    "sr": Task("super-resolution", (2, 3, 4)),
    "denoise": Task("removal of noise", (1,)),
    "jpeg": Task("removal of JPEG artifacts", (1,)),
}


def weights_name(task: TaskName, scale: int | None = None) -> str:
    """The name of a task's packaged weights, such as `sr-x2`; scale is by default the task's first.

    Raises ValueError for a scale the task has not.
    """
    known = TASKS[task].scales
    scale = known[0] if scale is None else scale
    if scale not in known:
        raise ValueError(f"{task} comes at scale {', '.join(map(str, known))}, got {scale}")
    return task if known == (1,) else f"{task}-x{scale}"
