"""Validation during a run: the averaged weights on the recipe's test sets, by the evaluation code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mambairv2.evaluation.evaluate import Score, evaluate_set, mean, whole_images
from mambairv2.evaluation.pairs import pair_cases
from mambairv2.evaluation.plan import find_set
from mambairv2.evaluation.protocol import Protocol
from mambairv2.images.folders import find_data
from mambairv2.training.ema import averaged
from mambairv2.training.log import Reporter
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup.options import Options
from mambairv2.training.state import State


@dataclass(frozen=True)
class ValidationSets:
    """Folders that have a folder for each of the recipe's validation sets."""

    targets: Path
    inputs: Path | None = None
    """Ready-made inputs; without them the test images are damaged as the task's protocol does."""


def find_validation(recipe: Recipe, options: Options, reporter: Reporter) -> ValidationSets | None:
    """Find the test sets, the given ones or the recipe's; without them the run goes unvalidated and says so.

    Raises FileNotFoundError if one of the recipe's sets is not there or an image of it has no input, and ValueError for
    paired training without the inputs of the test sets, or with inputs of another size.
    """
    if not recipe.keep.validate_every:
        return None
    paired = bool(options.inputs or recipe.data.input_folders)
    wanted = options.validation_inputs or recipe.keep.validation_inputs
    if paired and not wanted:
        raise ValueError(
            "training on ready-made inputs is validated on ready-made inputs: give keep.validation_inputs or "
            "--validation-inputs, a folder like that of the test sets, or validate_every = 0 to go without"
        )
    try:
        folder = options.validation or find_data(recipe.keep.validation_folder)
    except FileNotFoundError as error:
        reporter.say(f"without validation: {error}; give the folder of test sets by --validation")
        return None
    inputs = find_data(wanted) if wanted else None
    model = recipe.model
    for name in recipe.keep.validation_sets:
        target = find_set(folder, name)
        if inputs:
            for _ in pair_cases(target, find_set(inputs, name), model.upscale, model.in_channels):
                pass  # every pair is read once: a run of hours should not stop at one that does not fit
    return ValidationSets(folder, inputs)


def validate(state: State, sets: ValidationSets) -> dict[str, Score]:
    """Measure the averaged weights on whole images; returns the mean of each of the recipe's validation sets."""
    recipe, model = state.recipe, state.recipe.model
    level = 0 if sets.inputs else recipe.validation_level()
    protocol = Protocol(recipe.data.task, model.upscale, level, model.in_channels, sets.inputs)
    with averaged(state.network, state.ema):
        restore = whole_images(state.network)
        names = recipe.keep.validation_sets
        return {name: mean(evaluate_set(restore, sets.targets / name, protocol)) for name in names}


def validate_if_due(state: State, sets: ValidationSets | None, reporter: Reporter) -> None:
    """Validate in the first process and log the figures, where they are due and not in the log yet.

    Does nothing without a folder of test sets.
    """
    every, at = state.recipe.keep.validate_every, state.iteration
    due = every and (at % every == 0 or at == state.recipe.train.iterations)
    if sets is None or not due:
        return
    if state.fabric.is_global_zero and at not in reporter.validated:
        line: dict[str, object] = {"iteration": at}
        for name, score in validate(state, sets).items():
            line |= {f"{name}/psnr": round(score.psnr, 4), f"{name}/ssim": round(score.ssim, 5)}
            figures = f"{score.psnr:.3f} dB, {score.ssim:.4f}; input {score.base_psnr:.3f} dB"
            reporter.say(f"iteration {at}: {name} {figures} ({score.seconds:.0f} s)")
        reporter.write(line)
    state.fabric.barrier()
