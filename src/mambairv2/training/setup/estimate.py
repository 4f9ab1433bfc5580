"""What a run will take: seconds a step, and memory."""

from __future__ import annotations

import time

import torch

from mambairv2.training.data.patches import micro_batches
from mambairv2.training.log import peak_memory_mb
from mambairv2.training.state import State


def estimate(state: State) -> tuple[float, float]:
    """Return the seconds of one optimisation step and the peak memory in MiB, measured on micro-batches of noise."""
    fabric, recipe = state.fabric, state.recipe
    pieces = micro_batches(recipe, state.iteration, fabric.global_rank, fabric.world_size)
    patch, scale = recipe.stage(state.iteration)[0], recipe.model.upscale
    shape = (len(pieces[0]), recipe.model.in_channels)
    source = torch.rand(*shape, patch, patch, device=fabric.device)
    target = torch.rand(*shape, patch * scale, patch * scale, device=fabric.device)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        with fabric.no_backward_sync(state.model):  # type: ignore[arg-type]
            loss = state.model(source, target, None, recipe.goal(state.iteration))
            fabric.backward(loss)
        loss.item()
        seconds.append(time.perf_counter() - start)
    state.optimizer.zero_grad(set_to_none=True)
    return min(seconds[1:]) * len(pieces), peak_memory_mb()
