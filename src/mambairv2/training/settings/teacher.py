"""The tables [teacher] and [[phases]] of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mambairv2.training.settings.part import Loss, Part, Weight


class TeacherPart(Part):
    """A trained network to learn from (distillation), and the weight of each term of the loss."""

    weights: str = ""
    """A file, looked for as `folders` are, or a packaged name; empty for no teacher."""
    truth: Weight = 1.0
    """Weight of the distance (`loss`) between output and target."""
    outputs: Weight = 0.0
    """Weight of the distance (`loss`) between output and the teacher's output. The scales must be the same."""
    features: Weight = 0.0
    """Weight of the feature term: each attention, scan and feed-forward runs on the teacher's input to it, and its
    squared error is divided by the energy of the teacher's change. Summed over all of them. Groups are compared where
    depths differ, and the teacher's principal channels where it has more."""
    routing: Weight = 0.0
    """Weight of the cross-entropy between each layer's routing and the teacher's prompts, summed over layers. The
    depths and the number of prompts must be the same."""


class Phase(Part):
    """Another loss and learning rate, from an iteration on until the next phase.

    Keys that are left out are as in [train] and [teacher]. The schedule and Adam's moments begin again.
    """

    start: Annotated[int, Field(ge=0)]
    """The first iteration of the phase."""
    loss: Loss | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    final_lr: Weight | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    clip: Weight | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None
    sampled: bool | None = None
    truth: Weight | None = None
    outputs: Weight | None = None
    features: Weight | None = None
    routing: Weight | None = None
