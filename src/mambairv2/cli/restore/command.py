"""The command `restore`."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mambairv2.cli.exits import FAILED, complain, refusing, stoppable
from mambairv2.cli.restore import options
from mambairv2.cli.streams import say
from mambairv2.images.formats import MAX_PIXELS
from mambairv2.installation import install_extra

if TYPE_CHECKING:
    from mambairv2.batch.outcome import Reading
    from mambairv2.cli.restore.plan import RestorePlan
    from mambairv2.cli.restore.view import RestoreView
    from mambairv2.restoration.choosing import Choosing
    from mambairv2.restoration.planning import Tile
    from mambairv2.restoration.restorer import Restorer


def restore(
    inputs: options.Inputs,
    output: Annotated[str | None, options.Output] = None,
    task: Annotated[str | None, options.Task] = None,
    scale: Annotated[int | None, options.Scale] = None,
    weights: Annotated[str | None, options.Weights] = None,
    device: Annotated[str, options.Device] = "auto",
    tile: Annotated[int | None, options.TileSide] = None,
    overlap: Annotated[int, options.Overlap] = 16,
    whole: Annotated[bool, options.Whole] = False,
    self_ensemble: Annotated[bool, options.Ensemble] = False,
    precision: Annotated[Literal["float32", "bfloat16", "float16"], options.Precision] = "float32",
    strength: Annotated[float, options.Strength] = 1.0,
    margin: Annotated[bool, options.Margin] = True,
    extension: Annotated[str | None, options.Extension] = None,
    quality: Annotated[int, options.Quality] = 95,
    compression: Annotated[int, options.Compression] = 6,
    strip: Annotated[bool, options.Strip] = False,
    keep_hidden: Annotated[bool, options.KeepHidden] = False,
    suffix: Annotated[str | None, options.Suffix] = None,
    skip_existing: Annotated[bool, options.SkipExisting] = False,
    overwrite: Annotated[bool, options.Overwrite] = False,
    recursive: Annotated[bool, options.Recursive] = False,
    manifest: Annotated[str | None, options.Record] = None,
    fresh: Annotated[bool, options.Fresh] = False,
    engine: Annotated[Literal["local", "ray"], options.Engine] = "local",
    workers: Annotated[int | None, options.Workers] = None,
    page: Annotated[int | None, options.Page] = None,
    max_pixels: Annotated[int, options.MaxPixels] = MAX_PIXELS,
) -> None:
    """Restore images. Each becomes a file of its own.

    Grey, 16 bits, transparency, colour profile and metadata are kept where the format of the output can hold them.
    If a run over a folder is interrupted, the same command continues it.

    No partial file is left.

    Exit codes:

    0: all restored.

    1: some files failed, each with a line that says why, or the run had to stop.

    2: nothing was done, as options, weights or names are wrong.

    130: interrupted (Ctrl-C). 143: terminated.
    """
    from mambairv2.batch.naming import Naming
    from mambairv2.batch.outcome import Reading
    from mambairv2.cli.chosen_network import choose_network
    from mambairv2.cli.restore.plan import Existing, plan_run
    from mambairv2.cli.restore.view import RestoreView
    from mambairv2.images.formats import SaveOptions

    reading = Reading(SaveOptions(quality, compression, strip, keep_hidden), page, max_pixels)
    existing = Existing(overwrite, skip_existing, fresh)
    with stoppable(), ExitStack() as stack:
        with refusing():
            if engine == "ray" and importlib.util.find_spec("ray") is None:
                raise ValueError(f"--engine ray needs Ray, which is not installed; {install_extra('ray')}")
            if whole and tile is not None:
                raise ValueError("--tile and --whole contradict each other; give one of them")
            side: Tile = "whole" if whole else "auto" if tile is None else tile
            network = choose_network(weights, task, scale, side, overlap, self_ensemble, precision, strength, margin)
            naming = Naming(output, network.mark, suffix, f".{extension.lstrip('.').lower()}" if extension else None)
            plan = plan_run(inputs, naming, network, reading, existing, recursive=recursive, manifest=manifest)
            if engine == "ray" and any(plan.streams):
                raise ValueError("--engine ray reads and writes files; leave it out with -")
            # Torch takes seconds to load: only now, when nothing is left to be refused but the device.
            plan.check_streams()
            restorer = network.load("cpu" if engine == "ray" else device) if plan.jobs else None
            plan.begin(stack)
        view = stack.enter_context(RestoreView(len(plan.jobs) + len(plan.refused), plan.manifest))
        stopped = _run(plan, restorer, reading, view, workers, device if engine == "ray" else None)
    if stopped:
        complain(stopped)
    for note in plan.notes:
        say(f"note: {note}")
    if plan.total > 1:
        say(f"{view.restored} restored, {plan.skipped + view.unchanged} skipped, {view.failed} failed")
    if view.failed or stopped:
        raise typer.Exit(FAILED)


def _run(
    plan: RestorePlan,
    restorer: Restorer | Choosing | None,
    reading: Reading,
    view: RestoreView,
    workers: int | None,
    on_cluster: str | None,
) -> str | None:
    """Do the jobs on this machine, or on a cluster, whose workers have this device.

    Returns why the run had to stop; None if it did not.
    """
    from mambairv2.batch.manifest import ManifestError
    from mambairv2.batch.outcome import EngineError

    try:
        for outcome in plan.refused:
            view.done(outcome)
        if restorer is None:
            return None
        if on_cluster is None:
            from mambairv2.batch.local_engine import restore_here

            restore_here(restorer, plan.jobs, reading, view, workers or 1)
        else:
            say("starting Ray, which takes some seconds", sys.stderr)
            from mambairv2.batch.ray_engine import restore_on_ray

            tell = partial(say, stream=sys.stderr)
            restore_on_ray(restorer, on_cluster, plan.jobs, reading, view, workers, tell)
    except (ManifestError, EngineError) as error:
        return str(error)
    return None
