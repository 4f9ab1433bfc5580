"""One optimisation step, and the state it changes.

A run is a pure function of its recipe. Patches, noise and routing are drawn from (seed, iteration, slot), so
the seed and the iteration are all the random state there is, and a resumed run continues bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision
from torch import Tensor

from mambairv2.checkpoint import Content
from mambairv2.model import MambaIRv2
from mambairv2.patches import Batch, Key, Patches, micro_batches
from mambairv2.recipe import Recipe, TrainPart

_COUNTERS = ("iteration", "skipped", "attempt", "seconds", "losses")


@dataclass
class State:
    """Everything that changes in a run, and the few things that change it."""

    fabric: Fabric
    precision: Precision
    recipe: Recipe
    run: Path
    network: MambaIRv2
    model: torch.nn.Module  # the network as Fabric wraps it
    optimizer: torch.optim.Optimizer
    patches: Patches
    ema: dict[str, Tensor]
    iteration: int = 0
    skipped: int = 0
    streak: int = 0  # bad steps in a row
    attempt: int = 0  # roll-backs so far; other patches are drawn after each
    seconds: float = 0.0  # spent in steps
    losses: list[float] = field(default_factory=list)  # since the last line of the log

    def content(self) -> Content:
        """Return what a checkpoint holds."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "model": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    def restore(self, content: Content) -> None:
        """Go back to a checkpoint of the same network."""
        self.network.load_state_dict(content["model"])  # type: ignore[arg-type]
        self.optimizer.load_state_dict(content["optimizer"])  # type: ignore[arg-type]
        self.precision.load_state_dict(content["precision"])  # type: ignore[arg-type]
        for name, tensor in content["ema"].items():  # type: ignore[attr-defined]
            self.ema[name].copy_(tensor)
        for name in _COUNTERS:
            setattr(self, name, content[name])
        self.streak = 0
        self.reseed()

    def reseed(self) -> None:
        """Draw patches by the seed and the number of roll-backs."""
        self.patches.seed = (self.recipe.seed, self.attempt)


def learning_rate(part: TrainPart, iteration: int) -> float:
    """Return the learning rate of the step that follows `iteration` steps."""
    if iteration < part.warmup:
        return part.lr * (iteration + 1) / part.warmup
    if part.schedule == "milestones":
        return part.lr * part.gamma ** sum(iteration >= milestone for milestone in part.milestones)
    done = (iteration - part.warmup) / max(1, part.iterations - part.warmup)
    return part.final_lr + (part.lr - part.final_lr) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def loss_of(part: TrainPart, output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, or Charbonnier's smooth version of it: sqrt(d² + ε²)."""
    difference = output - target
    if part.loss == "charbonnier":
        return torch.sqrt(difference * difference + part.charbonnier_eps**2).mean()
    return difference.abs().mean()


def step(state: State, batches: Iterator[Batch], wants_stop: bool = False) -> tuple[float, bool]:
    """Take one optimisation step over the total batch.

    Returns the loss, and whether any process wants to stop. A step whose loss or gradient is not finite
    changes no weight and is counted.
    """
    fabric, recipe = state.fabric, state.recipe
    total = recipe.stage(state.iteration)[1]
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(recipe.train, state.iteration)
    pieces = micro_batches(recipe, state.iteration, fabric.global_rank, fabric.world_size)
    loss_sum = torch.zeros((), device=fabric.device)
    for number, keys in enumerate(pieces):
        source, target = (t.to(fabric.device, non_blocking=True) for t in next(batches))
        draws = routing_generators(state, keys)
        more = number < len(pieces) - 1
        with fabric.no_backward_sync(state.model, enabled=more):  # type: ignore[arg-type]
            loss = loss_of(recipe.train, state.model(source, draws), target)
            loss = loss * (len(keys) * fabric.world_size / total)
            # The absolute value has a zero gradient at NaN: make it show.
            fabric.backward(loss * (1 + 0 * loss.detach()))
        loss_sum += loss.detach()
    largest = recipe.train.clip or math.inf
    norm = fabric.clip_gradients(state.model, state.optimizer, max_norm=largest, error_if_nonfinite=False)
    assert norm is not None
    facts = torch.stack((loss_sum, loss_sum.new_tensor(float(wants_stop)), norm.to(loss_sum)))
    loss_mean, stop, length = fabric.all_reduce(facts, reduce_op="mean").tolist()  # type: ignore[union-attr]
    _apply(state, loss_mean, length)
    return loss_mean, stop > 0


def _apply(state: State, loss: float, norm: float) -> None:
    """Step and average, unless the loss or the gradient is not finite."""
    good = math.isfinite(loss) and math.isfinite(norm)
    scaled = state.recipe.train.precision == "16-mixed"
    if good or scaled:  # the scaler of fp16 skips a bad step by itself, and must see it
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if good:
        decay = min(state.recipe.train.ema, (1 + state.iteration) / (10 + state.iteration))
        averages, weights = list(state.ema.values()), [p.detach() for p in state.network.parameters()]
        torch._foreach_lerp_(averages, weights, 1 - decay)
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


@contextmanager
def averaged(state: State) -> Iterator[MambaIRv2]:
    """Lend the network with its averaged weights, in evaluation mode."""
    _swap_weights(state)
    try:
        yield state.network.eval()
    finally:
        _swap_weights(state)
        state.network.train()


def _swap_weights(state: State) -> None:
    for name, parameter in state.network.named_parameters():
        parameter.data, state.ema[name] = state.ema[name], parameter.data
