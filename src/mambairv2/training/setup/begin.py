"""The state that a run begins or goes on with."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision

from mambairv2.training.checkpoint import checkpoints, load_checkpoint
from mambairv2.training.data.patches import Patches
from mambairv2.training.ema import start_averages
from mambairv2.training.log import Reporter
from mambairv2.training.objective import Objective
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup.network import build_network, build_teacher
from mambairv2.training.setup.options import Options
from mambairv2.training.state import State


def setup(fabric: Fabric, precision: Precision, recipe: Recipe, run: Path, patches: Patches) -> State:
    """Put the network, the optimizer and the averaged weights on the device."""
    network = build_network(recipe, patches)
    network.set_checkpointing(recipe.train.checkpointing)
    part = recipe.train
    fused = part.precision != "16-mixed"  # Fabric cannot clip what a fused step would unscale
    optimizer = torch.optim.Adam(network.parameters(), part.lr, part.betas, fused=fused)
    teacher = build_teacher(recipe, network, patches)
    if teacher:
        teacher.to(fabric.device)
    model, wrapped = fabric.setup(Objective(network, teacher), optimizer)
    ema = start_averages(network)
    return State(fabric, precision, recipe, run, network, model.train(), wrapped, patches, ema, teacher)


def resume(state: State, options: Options, reporter: Reporter) -> None:
    """Restore the run's last checkpoint, if there is one and a fresh start is not asked for.

    Raises ValueError if it is of another model or seed, or no checkpoint can be read.
    """
    if options.fresh and options.dry_run:
        return
    if options.fresh and state.fabric.is_global_zero:
        for path in checkpoints(state.run):
            path.unlink()
    state.fabric.barrier()
    content = load_checkpoint(state.run)
    if content is None:
        reporter.rewind(-1)
        return
    earlier = Recipe.model_validate_json(str(content["recipe"]))
    if (earlier.model, earlier.seed) != (state.recipe.model, state.recipe.seed):
        raise ValueError(
            f"{state.run} is a run with another model or seed; choose another --name, or --fresh to replace it"
        )
    if earlier != state.recipe:
        reporter.say("the recipe has changed since the checkpoint; the run continues with the new one")
    state.restore(content)
    reporter.say(f"resuming at iteration {state.iteration}")
    if not options.dry_run:
        reporter.rewind(state.iteration)
