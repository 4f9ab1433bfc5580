"""The processes and devices of a run."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision

from mambairv2.training.data.patches import share
from mambairv2.training.recipe import Recipe
from mambairv2.training.setup.options import Options


class _Mixed(MixedPrecision):
    """Mixed precision that leaves the image in float32: in 16 bits it would lose half a level of 255."""

    def convert_input(self, data: object) -> object:
        return data


def make_fabric(recipe: Recipe, options: Options) -> tuple[Fabric, Precision]:
    """Start the processes and choose the device; raises ValueError for devices that are not there or have no work."""
    accelerator, found = options.accelerator, torch.cuda.device_count()
    if accelerator == "auto":
        accelerator = "cuda" if found else "cpu"
    if accelerator not in ("cpu", "cuda"):
        raise ValueError(f"no training on device {accelerator}; use auto, cpu or cuda")
    if accelerator == "cuda" and found < options.devices:
        raise ValueError(
            f"torch finds {found or 'no'} CUDA devices, not {options.devices}; change --devices, or use --device cpu"
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


@contextmanager
def ending_processes() -> Iterator[None]:
    """Close the connections to other processes that begin within, also after an error; used as a decorator.

    A thread of gloo needs Python when it lets go of its last tensor. If Python ends at that moment, the thread ends the
    process by SIGABRT. So these threads must have ended before. They have when nothing holds the process group, which a
    model on several devices does, and so do the local variables of an error.
    """
    before = _connected()
    try:
        yield
    except BaseException as error:
        if _connected() and not before:
            held: BaseException | None = error
            while held is not None:
                traceback.clear_frames(held.__traceback__)
                held = held.__context__
        raise
    finally:
        if _connected() and not before:
            torch.distributed.destroy_process_group()
            gc.collect()


def _connected() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
