"""The table `[data]` of a recipe: where patches come from, and how their inputs are damaged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from mambairv2.images.degradation.chain import AnyStep, Chain, Order, parse
from mambairv2.tasks import TASKS, TaskName
from mambairv2.training.settings.part import Part, Positive, Share

Degradation = Annotated[AnyStep, Field(discriminator="kind")]


class DataPart(Part):
    """Where patches come from, and how their inputs are damaged."""

    task: TaskName = "sr"
    folders: Annotated[list[str], Field(min_length=1)] = ["data/train"]
    """Folders of target images, looked for from the working directory, then below $MAMBAIRV2_DATA."""
    input_folders: list[str] = []
    """Ready-made inputs, one folder for each of `folders`; the task then says nothing. Empty: inputs are made from the
    targets."""
    patch: Positive = 64
    """Side of the input patch, in pixels."""
    sampling: Literal["images", "area", "detail"] = "area"
    """How places are drawn: every image equally often, by area, or by detail (mean gradient)."""
    sigma: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1, max_length=2)] = [25.0]
    """Denoising: standard deviation of the noise in levels of 255; two values are a range to draw from."""
    quality: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1, max_length=2)] = [40]
    """JPEG: quality of the encoder; two values are a range to draw from."""
    quality_draw: Literal["even", "low"] = "even"
    """JPEG: draw all qualities of the range equally often, or low ones more often (evenly on a logarithmic scale)."""
    degradations: list[Degradation] = []
    """Steps that make the input of the target, in place of what the task does to it; see docs/training.md."""
    degradation_order: Order = "given"
    """Order of the steps: as they stand, or drawn anew for each patch."""
    degradation_passes: tuple[Positive, Positive] = (1, 1)
    """How often the steps are passed, drawn from this range; the image shrinks in the last pass."""
    clean: Share = 0.0
    """Share of the patches that pass no step of `degradations`: they only shrink, by MATLAB's bicubic."""
    flat: Share = 0.0
    """Share of the patches that are of one colour, drawn from all colours, half of them at their most saturated:
    photographs have few of these."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare patches; 0 prepares them in the training process."""

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"no task {task!r}; there are {', '.join(TASKS)}")
        return task

    @model_validator(mode="after")
    def _one_input_folder_each(self) -> Self:
        if self.input_folders and len(self.input_folders) != len(self.folders):
            raise ValueError(f"{len(self.folders)} folders need as many input_folders, got {len(self.input_folders)}")
        if self.input_folders and self.degradations:
            raise ValueError("ready-made inputs (input_folders) take no degradations; leave one of them out")
        if self.input_folders and self.flat:
            raise ValueError("ready-made inputs (input_folders) take no flat patches; leave one of them out")
        if self.degradation_passes[0] > self.degradation_passes[1]:
            raise ValueError(f"degradation_passes is a range, smallest first, got {list(self.degradation_passes)}")
        return self

    def chain(self) -> Chain | None:
        """Return the steps that make inputs of targets; None where inputs are there already, as for `sr`."""
        if self.degradations:
            return Chain(tuple(self.degradations), self.degradation_order, self.degradation_passes)
        if self.input_folders or not TASKS[self.task].training:
            return None
        given: dict[str, dict[str, object]] = {"noise": {"sigma": (self.sigma[0], self.sigma[-1])}}
        given["jpeg"] = {"quality": (self.quality[0], self.quality[-1]), "draw": self.quality_draw}
        alone = TASKS[self.task].damage  # noise alone and JPEG alone have keys of their own
        steps = parse([{**given[alone], "kind": alone}] if alone in given else TASKS[self.task].training)
        return Chain(steps, rounded=alone != "noise")
