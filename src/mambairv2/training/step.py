"""One optimisation step: forward, backward, clipping, Adam, averages.

A run is a pure function of its recipe. Patches, noise and routing are drawn from (seed, iteration, slot), so
the seed and the iteration are all the random state there is, and a resumed run continues bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mambairv2.training.data.patches import Batch, Key, micro_batches
from mambairv2.training.ema import update_averages
from mambairv2.training.schedule import learning_rate
from mambairv2.training.state import State


def step(state: State, batches: Iterator[Batch], wants_stop: bool = False) -> tuple[float, bool]:
    """Take one optimisation step over the total batch.

    Returns the loss, and whether any process wants to stop. A step whose loss or gradient is not finite
    changes no weight and is counted.
    """
    fabric, recipe = state.fabric, state.recipe
    total = recipe.stage(state.iteration)[1]
    goal = recipe.goal(state.iteration)
    if state.iteration == goal.start:
        state.optimizer.state.clear()  # moments of another loss, perhaps a hundred times as steep, would stall this one
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(goal.train, state.iteration - goal.start)
    pieces = micro_batches(recipe, state.iteration, fabric.global_rank, fabric.world_size)
    loss_sum = torch.zeros((), device=fabric.device)
    for number, keys in enumerate(pieces):
        source, target = (t.to(fabric.device, non_blocking=True) for t in next(batches))
        draws = routing_generators(state, keys)
        more = number < len(pieces) - 1
        with fabric.no_backward_sync(state.model, enabled=more):  # type: ignore[arg-type]
            loss = state.model(source, target, draws, goal)
            loss = loss * (len(keys) * fabric.world_size / total)
            # The absolute value has a zero gradient at NaN: make it show.
            fabric.backward(loss * (1 + 0 * loss.detach()))
        loss_sum += loss.detach()
    largest = goal.train.clip or math.inf
    norm = fabric.clip_gradients(state.model, state.optimizer, max_norm=largest, error_if_nonfinite=False)
    assert norm is not None
    facts = torch.stack((loss_sum, loss_sum.new_tensor(float(wants_stop)), norm.to(loss_sum)))
    loss_mean, stop, length = fabric.all_reduce(facts, reduce_op="mean").tolist()  # type: ignore[union-attr]
    _apply(state, loss_mean, length, goal.train.ema)
    return loss_mean, stop > 0


def _apply(state: State, loss: float, norm: float, ema: float) -> None:
    """Step and average, unless the loss or the gradient is not finite."""
    good = math.isfinite(loss) and math.isfinite(norm)
    scaled = state.recipe.train.precision == "16-mixed"
    if good or scaled:  # the scaler of fp16 skips a bad step by itself, and must see it
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if good:
        update_averages(state.ema, state.network, ema, state.iteration)
    overflow = scaled and math.isfinite(loss)
    state.streak = 0 if good or overflow else state.streak + 1
    state.skipped += not good
    state.iteration += 1


def routing_generators(state: State, keys: Sequence[Key]) -> list[torch.Generator]:
    """Return one generator a patch, from which the network draws its prompts.

    Seeded by (seed, roll-backs, iteration, slot) alone, so that no split of the total batch into pieces or
    processes changes what a patch draws.
    """
    generators = []
    for iteration, slot, _ in keys:
        words = np.random.SeedSequence((state.recipe.seed, state.attempt, iteration, slot))
        generator = torch.Generator(state.fabric.device)
        generators.append(generator.manual_seed(int(words.generate_state(1, np.uint64)[0])))
    return generators
