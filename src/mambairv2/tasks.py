"""What can be restored: one entry a task, which recipes, training, measuring, commands and cards read.

A new task is a new entry. Steps of damage are written as in a recipe's `[[data.degradations]]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

TaskName = str
"""A key of `TASKS`."""
Level = int | str
"""A strength of the damage that is measured: σ of noise in levels of 255, JPEG quality, or a name."""
Steps = tuple[Mapping[str, object], ...]
"""Steps of damage with plain values; `images.degradation.chain.parse` makes them."""
Damage = Literal["bicubic", "noise", "jpeg", "steps"]


@dataclass(frozen=True)
class Task:
    """One task."""

    summary: str
    action: str
    """What it does to a picture besides enlarging it, as on a button; empty where it only enlarges."""
    scales: tuple[int, ...]
    """Enlargements there are networks for; the first is the default. Packaged weights are named by them."""
    damage: Damage = "steps"
    """How test images are damaged. `bicubic`: shrunk by MATLAB's bicubic. `noise`, `jpeg`: as the field does, by a
    level. `steps`: by `steps`, drawn by a seed."""
    levels: tuple[Level, ...] = ()
    """Levels that are measured; none for `bicubic`."""
    steps: Callable[[Level, int], Steps] | None = None
    """Damage of a test image by level and scale, where `damage` is `steps`."""
    training: Steps = ()
    """Damage of training patches, where a recipe has no `degradations` of its own. Empty for `bicubic`."""
    channels: int = 3
    """Colour channels of the field's test images: 1 where published figures are of grey ones."""
    compared: Literal["y", "rgb"] = "y"
    """What is compared: luma without a border of `scale` pixels, or all channels of the whole image."""
    baseline: str = "Lanczos"
    """What stands beside the result: an enlargement, or the name of the damaged input."""
    sets: tuple[str, ...] = ("Kodak24", "LIVE1")
    """The usual test sets."""

    def words(self, scale: int) -> str:
        """What it does at a scale, as on a button: `Clean and enlarge ×2`."""
        words = " and ".join(filter(None, (self.action, f"enlarge ×{scale}" if scale > 1 else "")))
        return words[:1].upper() + words[1:]


_STRENGTHS: dict[Level, dict[str, tuple[float, float]]] = {
    "weak": {"blur": (0.3, 0.6), "noise": (0, 2), "quality": (79, 95)},
    "middle": {"blur": (0.6, 1.0), "noise": (2, 5), "quality": (50, 78)},
    "strong": {"blur": (1.0, 1.5), "noise": (5, 8), "quality": (35, 49)},
}
"""Photographs: σ of a Gaussian blur in pixels of the original, σ of the noise in levels of 255, JPEG quality."""


def _photo(level: Level, scale: int) -> Steps:
    """Damage of a photograph on its way through the web: blur, halving by any filter, noise, JPEG.

    At ×1 the blur is half as wide: there the picture was halved before it is compared.
    """
    low, high = _STRENGTHS[level]["blur"]
    width = min(1, scale / 2)
    return (
        {"kind": "blur", "sigma": (low * width, high * width)},
        {"kind": "shrink"},
        {"kind": "noise", "sigma": _STRENGTHS[level]["noise"]},
        {"kind": "jpeg", "quality": tuple(map(int, _STRENGTHS[level]["quality"]))},
    )


TASKS: dict[TaskName, Task] = {
    "sr": Task(
        "super-resolution",
        "",
        (2, 3, 4),
        "bicubic",
        baseline="bicubic",
        sets=("Set5", "Set14", "BSD100", "Urban100", "Manga109"),
    ),
    "denoise": Task(
        "removal of noise",
        "Remove noise",
        (1,),
        "noise",
        levels=(15, 25, 50),
        training=({"kind": "noise"},),
        compared="rgb",
        baseline="noisy",
        sets=("CBSD68", "Kodak24", "McMaster", "Urban100"),
    ),
    "jpeg": Task(
        "removal of JPEG artifacts",
        "Remove JPEG artifacts",
        (1,),
        "jpeg",
        levels=(10, 30, 40),
        training=({"kind": "jpeg"},),
        channels=1,
        compared="rgb",
        baseline="JPEG",
        sets=("classic5", "LIVE1"),
    ),
    "photo": Task(
        "cleaning and enlarging of ordinary photographs",
        "Clean",
        (2, 4, 1),
        levels=("weak", "middle", "strong"),
        steps=_photo,
        training=(
            {"kind": "blur", "sigma": (0.0, 1.5)},
            {"kind": "shrink"},
            {"kind": "noise", "sigma": (0.0, 8.0)},
            {"kind": "jpeg", "quality": (35, 98), "probability": 0.9},
        ),
    ),
}


def weights_name(task: TaskName, scale: int | None = None) -> str:
    """The name of a task's packaged weights, such as `sr-x2`; scale is by default the task's first.

    Raises ValueError for a scale the task has not.
    """
    known = TASKS[task].scales
    scale = known[0] if scale is None else scale
    if scale not in known:
        raise ValueError(f"{task} comes at scale {', '.join(map(str, known))}, got {scale}")
    return task if scale == 1 else f"{task}-x{scale}"


def level_of(task: TaskName, text: str) -> Level:
    """Return a level of a task from its text; raises ValueError for one that the task does not have."""
    levels = TASKS[task].levels
    if not levels:
        raise ValueError(f"{task} has no levels, got {text!r}")
    if isinstance(levels[0], str):
        if text not in levels:
            raise ValueError(f"{task} has the levels {', '.join(map(str, levels))}, got {text!r}")
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"levels of {task} are whole numbers from 1, such as {levels[0]}; got {text!r}")
    return int(text)
