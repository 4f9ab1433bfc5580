"""The memory of an optimisation step, foretold from steps on a few windows, before a large one is tried."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mambairv2.restoration.memory import free_memory
from mambairv2.training.data.patches import micro_batches
from mambairv2.training.recipe import Goal
from mambairv2.training.state import State

_LITTLE = 5000
"""Bytes for each pixel, channel and layer that no backend exceeds; the native ones take about 120."""

BEYOND = 1.8
"""What a process on a CPU takes for each byte of tensors, with the scratch memory of kernels and the holes of the heap.
Measured for light ×2: 385 MiB where 261 are counted (4 patches of 32×32), 927 where 517 are (2 of 64×64)."""


class _Peak(TorchDispatchMode):
    """Adds up the tensors that are alive, beyond those that were there before."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.held += size
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.held -= size


def step_peak(state: State, goal: Goal, batch: int, height: int, width: int) -> int:
    """Return the bytes that forward and backward of inputs (batch, C, height, width) take, all at once at the most.

    They are counted as PyTorch makes and frees tensors. Scratch memory inside a kernel is not seen.
    """
    recipe, device = state.recipe, state.fabric.device
    channels, scale = recipe.model.in_channels, recipe.model.upscale
    state.optimizer.zero_grad(set_to_none=True)
    source = torch.rand(batch, channels, height, width, device=device)
    target = torch.rand(batch, channels, height * scale, width * scale, device=device)
    before = [source, target, *state.model.parameters(), *state.model.buffers()]
    with _Peak(before) as counted, state.fabric.no_backward_sync(state.model):  # type: ignore[arg-type]
        state.fabric.backward(state.model(source, target, None, goal))
    state.optimizer.zero_grad(set_to_none=True)
    return counted.peak


def foretell(state: State, goal: Goal) -> Callable[[int, int], float]:
    """Return a function from patches at once and their side to the bytes that a step takes beyond the network.

    All of it grows with the number of windows, which two steps on two and four windows show.
    """
    side = state.network.config.window_size
    two, four = (step_peak(state, goal, 1, side * rows, 2 * side) for rows in (1, 2))
    weights = sum(p.numel() for p in state.network.parameters() if p.requires_grad)
    moments = 0 if state.optimizer.state else 8 * weights  # Adam makes them at its first step
    factor = BEYOND if state.fabric.device.type == "cpu" else 1.0

    def needed(patches: int, patch: int) -> float:
        windows = patches * (-(-patch // side)) ** 2
        return moments + factor * max(two + (windows - 2) * (four - two) / 2, four - two)

    return needed


def check_memory(state: State) -> None:
    """Raise MemoryError, with what would fit, where a step of this run needs more memory than is free.

    Every stage and phase that is still to come counts. Nothing is done where the free memory cannot be measured.
    """
    recipe, fabric, config = state.recipe, state.fabric, state.network.config
    free = free_memory(fabric.device)
    if free is None:
        return
    starts = 0, *(stage.start for stage in recipe.train.stages), *(phase.start for phase in recipe.phases)
    told: dict[int, Callable[[int, int], float]] = {}
    for at in sorted({max(start, state.iteration) for start in starts if start < recipe.train.iterations}):
        pieces = micro_batches(recipe, at, fabric.global_rank, fabric.world_size)
        patches, patch, goal = len(pieces[0]), recipe.stage(at)[0], recipe.goal(at)
        pixels = patches * (patch + config.window_size) ** 2
        if _LITTLE * pixels * config.embed_dim * sum(config.depths) < free:
            continue
        if goal.start not in told:
            told[goal.start] = foretell(state, goal)
        if told[goal.start](patches, patch) > free:
            raise MemoryError(_refusal(told[goal.start], patches, patch, free, recipe.train.checkpointing))


def _refusal(needed: Callable[[int, int], float], patches: int, patch: int, free: int, checkpointing: bool) -> str:
    """Return what does not fit, and what would."""
    remedies = [] if checkpointing else ["checkpointing = true in [train]"]
    for count in range(patches - 1, 0, -1):
        if needed(count, patch) <= free:
            remedies.insert(0, f"--micro-batch {count} ({_size(needed(count, patch))})")
            break
    else:
        remedies.append("a smaller patch")
    said = f"{patches} patches of {patch}x{patch} at once need about {_size(needed(patches, patch))} of memory"
    return f"{said}, {_size(free)} are free; take {' or '.join(remedies)}"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
