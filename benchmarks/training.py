"""Cost of the data loader and of the training loop around the model, by recipe; a table, and JSON with --json.

    python benchmarks/training.py --data photos/ [--json FILE] [--steps 6] [RECIPE …]

The loader should prepare at least 3 times the images a second that the model consumes, and all of a step that is not
forward, backward or optimizer should take under 5 % of it. Both are measured with the recipe's own patches and task in
the real step of `mambairv2 train`, one micro-batch of at most --pixels input pixels at a time, and are ratios: other
work on the machine slows both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RECIPES = ("light-x2-cpu", "light-x2-gpu", "light-denoise-cpu", "light-jpeg-cpu")
FOLDER = Path(__file__).parents[1] / "recipes"
LOADER, LOOP = 3.0, 0.05  # aims: at least so many times the model, at most this share of a step


class Stopwatch:
    """Seconds spent inside the calls it wraps and the modules it watches."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, module) -> None:
        """Count a module's forward passes."""
        module.register_forward_pre_hook(lambda *_: self._add(-time.perf_counter()))
        module.register_forward_hook(lambda *_: self._add(time.perf_counter()))

    def _add(self, seconds: float) -> None:
        self.seconds += seconds

    def around(self, call: Callable) -> Callable:
        """Return the call, timed."""

        def timed(*arguments, **named):
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def smaller(recipe, pixels: int, iterations: int, workers: int):
    """The recipe with a total batch of at most `pixels` input pixels, no validation, in plain precision."""
    batch = max(1, min(recipe.train.total_batch, pixels // recipe.data.patch**2))
    changes = {"total_batch": batch, "micro_batch": 0, "iterations": iterations, "precision": "32-true", "stages": []}
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update=changes),
            "data": recipe.data.model_copy(update={"workers": workers}),
            "keep": recipe.keep.model_copy(update={"validate_every": 0}),
            # An untrained network costs what a trained one costs.
            "model": recipe.model.model_copy(update={"warm_start": False, "start_from": ""}),
        }
    )


def loader_speed(state, seconds: float) -> float:
    """Images a second of the loader alone, after a first batch, as the steps of a run ask for them."""
    from mambairv2.training.data.patches import loader

    recipe = state.recipe
    long = recipe.model_copy(update={"train": recipe.train.model_copy(update={"iterations": 10**7})})
    batches = iter(loader(state.patches, long))
    for _ in range(1 + 2 * recipe.data.workers):  # what the workers prepared while they started
        next(batches)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(batches)[0])
    return images / (time.perf_counter() - start)


def step_shares(state, reporter, steps: int) -> dict[str, float]:
    """Median seconds of a logged step, of the model inside it, and of waiting for patches."""
    from mambairv2.training.data.patches import loader
    from mambairv2.training.loop import logged_step

    # What is watched stays so: the state is measured once and thrown away.
    model, waiting = Stopwatch(), Stopwatch()
    fabric, optimizer = state.fabric, state.optimizer
    model.watch(state.network)
    fabric.backward, optimizer.step = model.around(fabric.backward), model.around(optimizer.step)
    source = iter(loader(state.patches, state.recipe, state.iteration))
    fetch = waiting.around(lambda: next(source))
    batches = iter(fetch, object())
    rows = []
    for _ in range(steps + 1):  # the first warms up
        model.seconds = waiting.seconds = 0.0
        start = time.perf_counter()
        logged_step(state, batches, False, reporter)
        rows.append((time.perf_counter() - start, model.seconds, waiting.seconds))
    shares = [1 - inside / whole for whole, inside, _ in rows[1:]]
    whole, inside, waited = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    return {"step_s": whole, "model_s": inside, "waiting_s": waited, "loop_share": statistics.median(shares)}


def saving(state, reporter) -> float:
    """Seconds of writing a checkpoint and the averaged weights, the median of three."""
    from mambairv2.training.loop import save

    times = []
    for _ in range(3):
        start = time.perf_counter()
        save(state, reporter)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Every figure of one recipe."""
    from mambairv2.training.log import Reporter
    from mambairv2.training.recipe import load_recipe
    from mambairv2.training.setup.begin import setup
    from mambairv2.training.setup.devices import make_fabric
    from mambairv2.training.setup.images import open_patches
    from mambairv2.training.setup.options import Options

    given = load_recipe(FOLDER / f"{name}.toml" if not name.endswith(".toml") else Path(name))
    workers = min(given.data.workers, os.cpu_count() or 1)
    recipe = smaller(given, arguments.pixels, arguments.steps + 2, workers)
    run = folder / Path(name).stem
    run.mkdir()
    options = Options(run, (arguments.data,), accelerator="cpu", cache=arguments.cache or folder / "cache")
    fabric, precision = make_fabric(recipe, options)
    reporter = Reporter(run, recipe.train.iterations, silent=False)
    patches = open_patches(recipe, options, reporter)
    state = setup(fabric, precision, recipe, run, patches)
    supply = loader_speed(state, arguments.seconds)
    shares = step_shares(state, reporter, arguments.steps)
    every = given.keep.checkpoint_every or 1000
    written = saving(state, reporter)
    demand = recipe.train.total_batch / shares["model_s"]
    full = shares["step_s"] * given.train.total_batch / recipe.train.total_batch
    loop = shares["loop_share"] + written / every / full
    return {
        "recipe": given.description,
        "patch": recipe.data.patch,
        "batch": recipe.train.total_batch,
        "workers": workers,
        "loader_images_s": supply,
        "model_images_s": demand,
        "ratio": supply / demand,
        **shares,
        "save_s": written,
        "save_every": every,
        "loop_share": loop,
        "met": supply >= LOADER * demand and loop < LOOP,
    }


def main() -> None:
    """Measure and print; exit code 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/, or files")
    parser.add_argument("--data", type=Path, required=True, help="training images, in place of the recipes'")
    parser.add_argument("--cache", type=Path, help="keep decoded images here; by default they are thrown away")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the loader alone")
    parser.add_argument("--pixels", type=int, default=9216, help="input pixels of a measured step at most")
    arguments = parser.parse_args()

    import torch

    from mambairv2.restoration.memory import keep_freed_memory

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: measure(name, arguments, Path(folder)) for name in arguments.recipes}
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| recipe | patch | loader, images/s | model, images/s | times the model | step, s | loop around the model |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['patch']} | {row['loader_images_s']:.0f} | {row['model_images_s']:.2f} | "
            f"{row['ratio']:.0f} | {row['step_s']:.2f} | {100 * row['loop_share']:.1f} % |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    missed = [name for name, row in rows.items() if not row["met"]]
    if missed:
        sys.exit(f"missed: {', '.join(missed)} (at least {LOADER:.0f} times, under {100 * LOOP:.0f} %)")


if __name__ == "__main__":
    main()
