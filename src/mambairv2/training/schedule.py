"""The learning-rate schedule: warm-up, then steps down at milestones or a half cosine."""

from __future__ import annotations

import math

from mambairv2.training.recipe import TrainPart


def learning_rate(part: TrainPart, iteration: int) -> float:
    """Return the learning rate of the step that follows `iteration` steps.

    Warm-up is linear, from lr / warmup to lr. Milestones multiply by gamma; the cosine falls from lr to final_lr.
    part: of a `Goal`, which says how long the warm-up is where the recipe does not.
    """
    warmup = part.warmup or 0
    if iteration < warmup:
        return part.lr * (iteration + 1) / warmup
    if part.schedule == "milestones":
        return part.lr * part.gamma ** sum(iteration >= milestone for milestone in part.milestones)
    done = (iteration - warmup) / max(1, part.iterations - warmup)
    return part.final_lr + (part.lr - part.final_lr) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
