"""The training loop: set up, step, log, save, roll back; the same for every task and any hardware."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from mambairv2.network.backends import slow_note
from mambairv2.training.checkpoint import load_checkpoint, save_checkpoint
from mambairv2.training.data.patches import Batch, loader
from mambairv2.training.ema import averaged
from mambairv2.training.last_head import fit_averaged_head
from mambairv2.training.log import Reporter, duration
from mambairv2.training.recipe import Recipe
from mambairv2.training.schedule import learning_rate
from mambairv2.training.settings import PAIRS
from mambairv2.training.setup.begin import resume, setup
from mambairv2.training.setup.devices import ending_processes, make_fabric
from mambairv2.training.setup.estimate import estimate
from mambairv2.training.setup.images import open_patches
from mambairv2.training.setup.memory import check_memory
from mambairv2.training.setup.network import check_start
from mambairv2.training.setup.options import Options
from mambairv2.training.signals import stop_signals
from mambairv2.training.state import State
from mambairv2.training.step import step
from mambairv2.training.validation import ValidationSets, find_validation, validate_if_due
from mambairv2.weights.packaged import AVERAGED
from mambairv2.weights.save import save_model

ROLLBACKS = 3  # before a run is given up


@ending_processes()
def train(recipe: Recipe, options: Options) -> bool:
    """Run a recipe to its end, from its last checkpoint if there is one.

    Returns False if it was stopped early by a signal or the clock, or was a dry run.
    Raises ValueError for a recipe or a checkpoint that does not fit, FileNotFoundError for missing data, MemoryError
    if a step needs more than is free, OSError if the last checkpoint cannot be written, RuntimeError if the loss stays
    not finite.
    """
    fabric, precision = make_fabric(recipe, options)
    check_start(recipe)
    silent = not fabric.is_global_zero
    board = options.tensorboard and not options.dry_run
    reporter = Reporter(options.run, recipe.train.iterations, silent, board)
    validation = find_validation(recipe, options, reporter)
    with fabric.rank_zero_first():
        patches = open_patches(recipe, options, reporter)
    state = setup(fabric, precision, recipe, options.run, patches)
    resume(state, options, reporter)
    if note := slow_note(fabric.device.type):
        reporter.say(note)
    check_memory(state)
    seconds, memory = estimate(state)
    rest = recipe.train.iterations - state.iteration
    reporter.say(
        f"{_parameters(state):,} parameters, {len(patches.cache.entries)} images, "
        f"{fabric.world_size} × {fabric.device}; {seconds:.2f} s a step, about {duration(rest * seconds)} "
        f"for {rest:,} steps, {memory:.0f} MiB"
    )
    if options.dry_run:
        return False
    options.run.mkdir(parents=True, exist_ok=True)
    with stop_signals() as asked, reporter:
        done = fit(state, options, validation, reporter, asked)
    if done:
        reporter.say(f"finished: {options.run / AVERAGED}")
    return done


def _parameters(state: State) -> int:
    return sum(p.numel() for p in state.network.parameters())


def fit(
    state: State, options: Options, validation: ValidationSets | None, reporter: Reporter, asked: list[int]
) -> bool:
    """Run to the last iteration; returns False if stopped by a signal or the clock, with everything saved."""
    train, keep, fabric = state.recipe.train, state.recipe.keep, state.fabric
    limit = time.monotonic() + options.max_minutes * 60
    saved = time.monotonic()
    if state.iteration == 0:
        save(state, reporter, must=True)
    validate_if_due(state, validation, reporter)
    batches = _batches(state)
    while state.iteration < train.iterations:
        stop = logged_step(state, batches, bool(asked) or time.monotonic() > limit, reporter)
        if state.streak >= train.nan_patience:
            roll_back(state, reporter)
            batches = _batches(state)
            continue
        last = state.iteration == train.iterations
        due = keep.checkpoint_every and state.iteration % keep.checkpoint_every == 0
        old = time.monotonic() - saved > keep.checkpoint_minutes * 60
        if last:
            fit_averaged_head(state, reporter)
        if last or stop or ((due or old) and not state.streak):
            save(state, reporter, must=last or stop)
            saved = time.monotonic()
        if stop and not last:
            reporter.say(f"stopped at iteration {state.iteration}; the same command goes on from there")
            return False
        validate_if_due(state, validation, reporter)
    fabric.barrier()
    return True


def _batches(state: State) -> Iterator[Batch]:
    fabric = state.fabric
    return iter(loader(state.patches, state.recipe, state.iteration, fabric.global_rank, fabric.world_size))


def logged_step(state: State, batches: Iterator[Batch], wants_stop: bool, reporter: Reporter) -> bool:
    """Take a step and write a line of the log where one is due; returns whether to stop."""
    goal = state.recipe.goal(state.iteration)
    rate = learning_rate(goal.train, state.iteration - goal.start)
    images = state.recipe.stage(state.iteration)[1]
    start, cpu = time.perf_counter(), time.process_time()
    loss, stop = step(state, batches, wants_stop)
    seconds = time.perf_counter() - start
    state.seconds += seconds
    state.cpu_seconds += time.process_time() - cpu
    if math.isfinite(loss):
        state.losses.append(loss)
    if state.iteration % state.recipe.keep.log_every and state.iteration != state.recipe.train.iterations:
        reporter.advance(state.iteration)
        return stop
    line: dict[str, object] = {
        "iteration": state.iteration,
        "loss": sum(state.losses) / len(state.losses) if state.losses else math.nan,
        "lr": float(f"{rate:.4g}"),
        "seconds": round(state.seconds, 1),
        "cpu_seconds": round(state.cpu_seconds, 3),
        "images_per_s": round(images / seconds, 3),
    }
    if state.skipped:
        line["skipped"] = state.skipped
    state.losses = []
    reporter.write(line)
    reporter.advance(state.iteration, line)
    return stop


def save(state: State, reporter: Reporter, must: bool = False) -> None:
    """Write the averaged weights and a checkpoint, in the first process.

    On a full disk it says so and training goes on, with the older checkpoint in place; OSError where one `must` be
    written since the run ends here.
    """
    if not state.fabric.is_global_zero:
        return
    reporter.flush()
    try:
        with averaged(state.network, state.ema):  # before the checkpoint, which tells that all before it is done
            save_model(state.network, state.run / AVERAGED, _metadata(state))
        save_checkpoint(state.run, state.iteration, state.content(), state.recipe.keep.keep)
    except OSError as error:
        text = f"iteration {state.iteration}: no checkpoint written, the earlier one stays: {error}"
        if must:
            raise OSError(f"{text}; free some space, and the same command goes on from there") from None
        reporter.say(text)


def _metadata(state: State) -> dict[str, str]:
    part = state.patches.part  # with the ready-made inputs that options gave
    task = PAIRS if part.input_folders and state.recipe.model.upscale == 1 else part.task
    return {"task": task, "iteration": str(state.iteration)}


def roll_back(state: State, reporter: Reporter) -> None:
    """Go back to the last checkpoint and draw other patches from there; RuntimeError after three times."""
    attempt, bad, at = state.attempt + 1, state.streak, state.iteration
    content = load_checkpoint(state.run)
    if content is None or attempt > ROLLBACKS:
        raise RuntimeError(
            f"{bad} steps in a row, up to iteration {at}, gave no finite loss or gradient, after "
            f"{attempt - 1} roll-backs; the last good checkpoint stays in {state.run}. "
            "A smaller lr, clip = 1.0 or precision = '32-true' may help"
        )
    state.restore(content)
    state.attempt = attempt
    state.reseed()
    reporter.rewind(state.iteration)
    reporter.say(f"{bad} bad steps in a row: back from iteration {at} to {state.iteration}, with other patches")
