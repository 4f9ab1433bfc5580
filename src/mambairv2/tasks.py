"""What can be restored: the three tasks, their weights, and how the field measures them."""

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
    channels: Literal["y", "rgb"]
    """What PSNR and SSIM compare."""
    suffix: str
    """Added to the name of a restored file; `{scale}` stands for the enlargement."""

    def border(self, scale: int) -> int:
        """Pixels left out on each side when comparing: the scale for super-resolution, else none."""
        return scale if scale > 1 else 0


TASKS: dict[TaskName, Task] = {
    "sr": Task("super-resolution", (2, 3, 4), "y", "_x{scale}"),
    "denoise": Task("removal of noise", (1,), "rgb", "_denoised"),
    "jpeg": Task("removal of JPEG artifacts", (1,), "y", "_dejpeg"),
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
