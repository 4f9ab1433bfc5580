"""Validation during a run: the averaged weights on the recipe's test sets, by the evaluation code."""

from __future__ import annotations

from pathlib import Path

from mambairv2.evaluation.evaluate import Score, evaluate_set, mean, whole_images
from mambairv2.evaluation.plan import find_set
from mambairv2.evaluation.protocol import Protocol
from mambairv2.images.folders import find_data
from mambairv2.training.ema import averaged
from mambairv2.training.log import Reporter
from mambairv2.training.recipe import Recipe
from mambairv2.training.state import State


def find_validation(recipe: Recipe, given: Path | None, reporter: Reporter) -> Path | None:
    """Find the folder of test sets, the given one or the recipe's; without one the run goes unvalidated and says so.

    Raises FileNotFoundError if one of the recipe's sets is not in it.
    """
    if not recipe.keep.validate_every:
        return None
    try:
        folder = given or find_data(recipe.keep.validation_folder)
    except FileNotFoundError as error:
        reporter.say(f"without validation: {error}; give the folder of test sets by --validation")
        return None
    for name in recipe.keep.validation_sets:
        find_set(folder, name)
    return folder


def validate(state: State, folder: Path) -> dict[str, Score]:
    """Measure the averaged weights on whole images; returns the mean of each of the recipe's validation sets."""
    recipe = state.recipe
    protocol = Protocol(recipe.data.task, recipe.model.upscale, recipe.validation_level(), recipe.model.in_channels)
    with averaged(state.network, state.ema):
        restore = whole_images(state.network)
        return {name: mean(evaluate_set(restore, folder / name, protocol)) for name in recipe.keep.validation_sets}


def validate_if_due(state: State, folder: Path | None, reporter: Reporter) -> None:
    """Validate in the first process and log the figures, where they are due and not in the log yet.

    Does nothing without a folder of test sets.
    """
    every, at = state.recipe.keep.validate_every, state.iteration
    due = every and (at % every == 0 or at == state.recipe.train.iterations)
    if folder is None or not due:
        return
    if state.fabric.is_global_zero and at not in reporter.validated:
        line: dict[str, object] = {"iteration": at}
        for name, score in validate(state, folder).items():
            line |= {f"{name}/psnr": round(score.psnr, 4), f"{name}/ssim": round(score.ssim, 5)}
            figures = f"{score.psnr:.3f} dB, {score.ssim:.4f}; input {score.base_psnr:.3f} dB"
            reporter.say(f"iteration {at}: {name} {figures} ({score.seconds:.0f} s)")
        reporter.write(line)
    state.fabric.barrier()
