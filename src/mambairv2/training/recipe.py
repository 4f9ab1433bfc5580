"""The recipe of a training run: a TOML file, every key of which is checked."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from mambairv2.images.degradation.chain import KINDS
from mambairv2.network.config import ONE_CONVOLUTION
from mambairv2.tasks import TASKS, Level, level_of
from mambairv2.training.settings.data import DataPart
from mambairv2.training.settings.model import ModelPart
from mambairv2.training.settings.part import Loss, Part, Positive, Share
from mambairv2.training.settings.teacher import Phase, TeacherPart

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


WARMUP = 500
"""Iterations of the longest warm-up that is made where a recipe has none."""


class Stage(Part):
    """Another patch size and total batch, from an iteration on: patches that grow."""

    start: Positive
    """The first iteration of the stage."""
    patch: Positive
    total_batch: Positive


class TrainPart(Part):
    """Optimisation."""

    iterations: Positive
    """Optimisation steps of the whole run."""
    total_batch: Positive = 32
    """Patches an optimisation step, over all devices and accumulated steps."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    """Patches that a device takes at once; 0 takes its whole share. It changes the result by rounding only."""
    stages: list[Stage] = []
    """Later patch sizes and batches."""
    loss: Loss = "l1"
    """Mean absolute error, its smooth version by Charbonnier, mean squared error, or minus the PSNR of each patch in
    dB, in which lightly and strongly damaged patches count alike."""
    charbonnier_eps: Annotated[float, Field(gt=0)] = 1e-3
    """ε of the Charbonnier loss, of values in [0, 1]."""
    lr: Annotated[float, Field(gt=0)] = 2e-4
    """Learning rate of Adam, the largest of the schedule."""
    betas: tuple[Share, Share] = (0.9, 0.99)
    """β₁ and β₂ of Adam."""
    schedule: Literal["milestones", "cosine"] = "milestones"
    """How the learning rate falls: in steps, or along a half cosine to the last iteration."""
    milestones: list[Positive] = []
    """Iterations at which the learning rate is multiplied by gamma."""
    gamma: Share = 0.5
    warmup: Annotated[int, Field(ge=0)] | None = None
    """Iterations over which the learning rate first rises, linearly. Left out: a tenth of the run or phase, at most
    500, where the network begins with something that it would lose (`start_from`, `warm_start`, a phase before); else
    0."""
    final_lr: Annotated[float, Field(ge=0)] = 1e-7
    """Learning rate at which the cosine ends."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Norm to which a larger gradient is scaled down; 0 does not clip."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the averaged weights, which are validated and saved; it rises from 0.1 in the first iterations."""
    fit_head: Annotated[int, Field(ge=0)] = 0
    """Batches of eight patches on which the head of the averaged weights is solved for by least squares after the last
    step; 0 leaves it as trained. For heads of one convolution."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """float32, or mixed precision with bfloat16 or float16."""
    sampled: bool = True
    """Draw each token's prompt, as published. False takes the likeliest, as in restoring; the routing then learns from
    a teacher's labels only."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    nan_patience: Positive = 10
    """Steps in a row without a finite loss and gradient before the run goes back to its last checkpoint."""


@dataclass(frozen=True)
class Goal:
    """The settings that hold during one phase, or during the whole run if it has none."""

    start: int
    """The first iteration of the phase."""
    train: TrainPart
    """`iterations` is the length of the phase."""
    teacher: TeacherPart


class KeepPart(Part):
    """What is written, and when."""

    log_every: Positive = 100
    """Iterations between lines of the log."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 5000
    """Iterations between checkpoints; 0 leaves it to `checkpoint_minutes`."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    """Longest time without a checkpoint."""
    keep: Positive = 2
    """How many checkpoints are kept, the newest."""
    validate_every: Annotated[int, Field(ge=0)] = 5000
    """Iterations between validations, besides those at the start and the end; 0 never validates."""
    validation_folder: str = "data/test"
    """Folder of test sets, looked for as `folders`."""
    validation_sets: list[str] = ["Set5"]
    """Names of test sets."""
    validation_inputs: str = ""
    """Ready-made inputs of the test sets: a folder that has one of the same name for each, looked for as `folders`.
    Paired training needs it; empty damages the test images as the task's protocol does."""
    validation_level: Annotated[int, Field(ge=0)] | str = 0
    """σ, JPEG quality or strength of the validation. 0 takes the first value of `sigma` or `quality`, or the middle
    one of the task's levels."""


class Recipe(Part):
    """One training run, on whatever hardware."""

    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of initial values, patches, noise and routing."""
    model: ModelPart = ModelPart()
    data: DataPart = DataPart()
    train: TrainPart
    teacher: TeacherPart = TeacherPart()
    phases: list[Phase] = []
    keep: KeepPart = KeepPart()

    @model_validator(mode="after")
    def _task_fits_the_network(self) -> Self:
        if not self.data.input_folders and self.model.upscale not in TASKS[self.data.task].scales:
            raise ValueError(f"task {self.data.task!r} does not fit upscale {self.model.upscale}")
        if self.train.fit_head and (head := self.model.config().upsampler) not in ONE_CONVOLUTION:
            raise ValueError(f"fit_head needs a head of one convolution, that of {head!r} has several")
        if self.keep.validation_level:
            level_of(self.data.task, str(self.keep.validation_level))
        return self

    @model_validator(mode="after")
    def _every_phase_can_learn(self) -> Self:
        starts = [phase.start for phase in self.phases]
        if twice := [start for start in starts if starts.count(start) > 1]:
            raise ValueError(f"two phases start at {twice[0]}")
        for goal in self.goals():
            at, part = f"from iteration {goal.start} on", goal.teacher
            if goal.train.iterations < 1:
                raise ValueError(f"a phase starts at {goal.start}, after the last iteration")
            if not (part.truth or part.outputs or part.features or part.routing):
                raise ValueError(f"{at} there is nothing to learn: every weight of the loss is 0")
            if (part.outputs or part.features or part.routing) and not part.weights:
                raise ValueError(f"outputs, features and routing ({at}) need the weights of a teacher")
        return self

    def goal(self, iteration: int) -> Goal:
        """Return the settings of the phase that an iteration is in."""
        starts = sorted(phase.start for phase in self.phases)
        phase = max((p for p in self.phases if p.start <= iteration), key=lambda p: p.start, default=Phase(start=0))
        end = next((start for start in starts if start > iteration), self.train.iterations)
        given = phase.model_dump(exclude_none=True)
        train = {key: value for key, value in given.items() if key in TrainPart.model_fields}
        teacher = {key: value for key, value in given.items() if key in TeacherPart.model_fields}
        train["iterations"] = end - phase.start
        if train.get("warmup", self.train.warmup) is None:
            begun = self.model.start_from or self.model.warm_start or phase.start
            train["warmup"] = min(WARMUP, train["iterations"] // 10) if begun else 0
        return Goal(phase.start, self.train.model_copy(update=train), self.teacher.model_copy(update=teacher))

    def goals(self) -> list[Goal]:
        """Return the settings of every phase, in order."""
        return [self.goal(start) for start in sorted({0, *(phase.start for phase in self.phases)})]

    def stage(self, iteration: int) -> tuple[int, int]:
        """Return (patch, total batch) at an iteration."""
        reached = [s for s in self.train.stages if s.start <= iteration]
        last = max(reached, key=lambda s: s.start, default=None)
        return (last.patch, last.total_batch) if last else (self.data.patch, self.train.total_batch)

    def validation_level(self) -> Level:
        """Return the level of damage that validation measures; 0 where the task has none."""
        task = TASKS[self.data.task]
        if self.keep.validation_level or not task.levels:
            return self.keep.validation_level
        first = {"noise": int(self.data.sigma[0]), "jpeg": self.data.quality[0]}
        return first.get(task.damage, task.levels[len(task.levels) // 2])

    def smallest_batch(self) -> int:
        """Return the smallest total batch of the run."""
        return min([self.train.total_batch, *(stage.total_batch for stage in self.train.stages)])


UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises ValueError naming the file and the key for anything unknown, missing or out of range.
    """
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"]) or "recipe"
            reason = _unknown(fault["loc"]) if fault["type"] in UNKNOWN else fault["msg"]
            lines.append(f"{path}: {key}: {reason.removeprefix('Value error, ')}")
        raise ValueError("\n".join(lines)) from None


def _unknown(location: tuple[int | str, ...]) -> str:
    """Return what is said of a key that does not exist: the one that was probably meant, where there is one."""
    *table, key = [str(part) for part in location if isinstance(part, str)]
    tables: dict[str, type[Part]] = {
        "": Recipe,
        "model": ModelPart,
        "data": DataPart,
        "train": TrainPart,
        "train.stages": Stage,
        "teacher": TeacherPart,
        "phases": Phase,
        "keep": KeepPart,
    }
    at = ".".join(table)
    kind = KINDS.get(table[-1]) if at.startswith("data.degradations.") else None
    fields = list(kind.__dataclass_fields__) if kind else list(tables[at].model_fields)
    close = difflib.get_close_matches(key, fields, 1)
    return f"no such key; did you mean {close[0]}?" if close else "no such key"
