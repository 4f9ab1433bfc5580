"""What a run needs before its first step: devices, patches, the network, its checkpoint, an estimate."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision

from mambairv2.images.folders import data_roots, find_data
from mambairv2.network.model import MambaIRv2
from mambairv2.training.checkpoint import checkpoints, load_checkpoint
from mambairv2.training.data.image_cache import open_cache
from mambairv2.training.data.patches import Batch, Patches, micro_batches, share
from mambairv2.training.distillation import Teacher, check_teacher, principal_channels
from mambairv2.training.ema import start_averages
from mambairv2.training.log import Reporter, peak_memory_mb
from mambairv2.training.objective import Objective
from mambairv2.training.recipe import Recipe
from mambairv2.training.state import State
from mambairv2.training.warm_start import fit_head, warm_start
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model, load_state
from mambairv2.weights.packaged import find_weights


@dataclass(frozen=True)
class Options:
    """How and where a recipe is run; hardware changes the result by rounding only."""

    run: Path
    """Folder of the run: checkpoints, log, averaged weights."""
    data: tuple[Path, ...] = ()
    """Training folders in place of the recipe's."""
    validation: Path | None = None
    """Folder of test sets in place of the recipe's."""
    accelerator: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA if it is there."""
    devices: int = 1
    """On each machine."""
    nodes: int = 1
    """Machines."""
    fresh: bool = False
    """Start again instead of resuming; earlier checkpoints of the run are removed."""
    dry_run: bool = False
    """Check and estimate, and stop before the first step."""
    max_minutes: float = math.inf
    """Save and stop after this time."""
    tensorboard: bool = False
    """Write logs for TensorBoard, too."""
    cache: Path = Path("runs/cache")
    """Folder that decoded images are kept in."""


class _Mixed(MixedPrecision):
    """Mixed precision that leaves the image in float32: in 16 bits it would lose half a level of 255."""

    def convert_input(self, data: object) -> object:
        return data


def make_fabric(recipe: Recipe, options: Options) -> tuple[Fabric, Precision]:
    """Start the processes and choose the device; raises ValueError for devices that are not there or have no work."""
    accelerator, found = options.accelerator, torch.cuda.device_count()
    if accelerator == "auto":
        accelerator = "cuda" if found else "cpu"
    if accelerator == "cuda" and found < options.devices:
        raise ValueError(
            f"torch finds {found} CUDA devices, not {options.devices}; change --devices, or use --device cpu"
        )
    world = options.devices * options.nodes
    if (started := int(os.environ.get("WORLD_SIZE", world))) != world:  # each would train alone, into one folder
        raise ValueError(f"{started} processes were started for --devices {options.devices} --nodes {options.nodes}")
    share(recipe.smallest_batch(), 0, world)
    mixed = recipe.train.precision
    partial = recipe.teacher.weights or not all(goal.train.sampled for goal in recipe.goals())
    strategy = "ddp_find_unused_parameters_true" if partial else "ddp"  # not every step has gradients for all weights
    precision = Precision() if mixed == "32-true" else _Mixed(mixed, accelerator)
    fabric = Fabric(
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=strategy if world > 1 else "auto",
        plugins=[precision],
    )
    fabric.launch()
    return fabric, precision


def open_patches(recipe: Recipe, options: Options, reporter: Reporter) -> Patches:
    """Open the recipe's images, decoding them first where that has not been done.

    Raises FileNotFoundError for folders that are not there or have no images.
    """
    try:
        folders = options.data or tuple(map(find_data, recipe.data.folders))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; give the folder of training images by --data") from None
    inputs = tuple(map(find_data, recipe.data.input_folders))

    def tick(done: int, total: int) -> None:
        if done % 100 == 0:
            reporter.say(f"decoding images into {options.cache}: {done} of {total}")

    cache = open_cache(folders, recipe.model.upscale, recipe.model.in_channels, inputs, options.cache, tick)
    for fault in cache.skipped:
        reporter.say(f"left out: {fault}")
    return Patches(cache, recipe.data, (recipe.seed, 0))


def check_start(recipe: Recipe) -> None:
    """See that the weights to start from and to learn from exist, before images are decoded; raises ValueError."""
    for key, name in (("start_from", recipe.model.start_from), ("teacher", teacher_weights(recipe))):
        try:
            if name:
                find_weights(name)
        except WeightsError as error:
            raise ValueError(f"{key}: {error}") from None


def teacher_weights(recipe: Recipe) -> str:
    """Return the file or packaged name of the recipe's teacher; empty if there is none."""
    name = recipe.teacher.weights
    files = [root / name for root in data_roots()]
    return next((str(file) for file in files if file.is_file()), name)


def build_network(recipe: Recipe, patches: Patches) -> MambaIRv2:
    """Make the network that a run starts from: initial values by the seed, other weights, or a warm start.

    Raises ValueError for weights that do not fit; only the head may differ.
    """
    part = recipe.model
    torch.manual_seed(recipe.seed)
    network = MambaIRv2(part.config())
    batches = _first_batches(recipe, patches, 25)
    if not part.start_from:
        if part.warm_start:
            warm_start(network, batches)
        return network
    own, given = network.state_dict(), load_state(part.start_from)
    fitting = {name: t for name, t in given.items() if name in own and t.shape == own[name].shape}
    others = sorted(set(own) - set(fitting))
    if any(not name.startswith("head.") for name in others):
        raise ValueError(f"{part.start_from} does not fit the recipe's network: {', '.join(others[:3])}")
    network.load_state_dict({**own, **fitting})
    if others and part.warm_start:
        fit_head(network, batches)
    return network


def _first_batches(recipe: Recipe, patches: Patches, count: int) -> Iterator[Batch]:
    """Batches of eight patches that no step takes."""
    for number in range(count):
        keys = [(2**31, 8 * number + slot, recipe.data.patch) for slot in range(8)]
        yield torch.utils.data.default_collate([patches[key] for key in keys])


def build_teacher(recipe: Recipe, network: MambaIRv2, patches: Patches) -> Teacher | None:
    """Load the recipe's teacher, if it has one; raises ValueError for one that cannot teach the network."""
    parts = [goal.teacher for goal in recipe.goals()]
    if not recipe.teacher.weights:
        return None
    teacher = load_model(teacher_weights(recipe))
    features = any(part.features or part.routing for part in parts)
    outputs, routing = any(part.outputs for part in parts), any(part.routing for part in parts)
    check_teacher(network, teacher, outputs=outputs, features=features, routing=routing)
    width = network.config.embed_dim
    if not features or width == teacher.config.embed_dim:
        return Teacher(teacher)
    images = (source for source, _ in _first_batches(recipe, patches, 4))
    return Teacher(teacher, principal_channels(teacher, images, width))


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
