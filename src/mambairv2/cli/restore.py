"""The command `restore`: what its options mean, what it prints, how it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TextIO

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

if TYPE_CHECKING:
    from mambairv2.batch.jobs import Batch, Job
    from mambairv2.batch.manifest import Manifest
    from mambairv2.batch.worker import Outcome, Reading
    from mambairv2.restoration.restorer import Restorer, Tile
    from mambairv2.restoration.results import Estimate
    from mambairv2.restoration.tiling import Progress as Tiles
    from mambairv2.tasks import TaskName

LONG = 10
"""Seconds from which on a file's time and memory are told beforehand."""
FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
MANY, WRITING, NETWORK = "Many files", "Outputs", "Network"

Inputs = Annotated[
    list[str], typer.Argument(help="Images, folders, quoted patterns such as 'a/**/*.png'; local, or s3://… and such.")
]
Output = typer.Option(
    "--output", "-o", help="A file for one input, else a folder, local or s3://… Default: beside the input."
)
TaskOption = typer.Option("--task", help="Which packaged weights to use.", rich_help_panel=NETWORK)
Scale = typer.Option(help="Enlargement, for --task sr: 2, 3 or 4. Default: 2.", rich_help_panel=NETWORK)
Weights = typer.Option(
    help="A packaged name or a file (.safetensors, .pth), instead of --task.", rich_help_panel=NETWORK
)
Device = typer.Option(help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=NETWORK)
TileSide = typer.Option(
    help="Largest side of a tile in input pixels, by 16. Default: 256, less if memory is short.",
    rich_help_panel=NETWORK,
)
Overlap = typer.Option(help="Input pixels that neighbouring tiles share, by 16.", rich_help_panel=NETWORK)
Whole = typer.Option("--whole", help="Never tile, whatever memory it takes.", rich_help_panel=NETWORK)
Ensemble = typer.Option(
    "--self-ensemble", help="Mean over eight turns and mirrorings: slightly better, 8 times slower.",
    rich_help_panel=NETWORK,
)  # fmt: skip
Extension = typer.Option(
    "--format", help="Format of outputs: png, jpg, webp or tif. Default: the input's.", rich_help_panel=WRITING
)
Quality = typer.Option(min=1, max=100, help="JPEG and WebP; 100 makes WebP lossless.", rich_help_panel=WRITING)
Compression = typer.Option(min=0, max=9, help="PNG and TIFF: 0 none to 9 smallest.", rich_help_panel=WRITING)
Strip = typer.Option("--strip", help="Leave metadata out, all but the colour profile.", rich_help_panel=WRITING)
Suffix = typer.Option(help="Added to the names of outputs, such as _big.", rich_help_panel=WRITING)
Recursive = typer.Option("--recursive", "-r", help="Take the subfolders of folders too.", rich_help_panel=MANY)
SkipExisting = typer.Option("--skip-existing", help="Leave outputs that exist as they are.", rich_help_panel=WRITING)
Overwrite = typer.Option("--overwrite", help="Replace outputs that exist; an input never.", rich_help_panel=WRITING)
Page = typer.Option(min=0, help="Page or frame of files that hold several, from 0.")
MaxPixels = typer.Option(min=1, help="Refuse larger images: a guard against decompression bombs.")
ManifestOption = typer.Option(
    "--manifest",
    help="Record that an interrupted run goes on from, or none. Default: manifest.jsonl in the output folder.",
    rich_help_panel=MANY,
)
Fresh = typer.Option("--fresh", help="Do again what the manifest says is done.", rich_help_panel=MANY)
EngineOption = typer.Option(
    help="local: this machine; ray: a Ray cluster (RAY_ADDRESS, or one on this machine).", rich_help_panel=MANY
)
Workers = typer.Option(
    min=1, help="Processes of --engine ray. Default: one a GPU, or one a machine.", rich_help_panel=MANY
)


def restore(
    inputs: Inputs,
    output: Annotated[str | None, Output] = None,
    task: Annotated[Literal["sr", "denoise", "jpeg"], TaskOption] = "sr",
    scale: Annotated[int | None, Scale] = None,
    weights: Annotated[str | None, Weights] = None,
    device: Annotated[str, Device] = "auto",
    tile: Annotated[int | None, TileSide] = None,
    overlap: Annotated[int, Overlap] = 16,
    whole: Annotated[bool, Whole] = False,
    self_ensemble: Annotated[bool, Ensemble] = False,
    extension: Annotated[str | None, Extension] = None,
    quality: Annotated[int, Quality] = 95,
    compression: Annotated[int, Compression] = 6,
    strip: Annotated[bool, Strip] = False,
    suffix: Annotated[str | None, Suffix] = None,
    skip_existing: Annotated[bool, SkipExisting] = False,
    overwrite: Annotated[bool, Overwrite] = False,
    recursive: Annotated[bool, Recursive] = False,
    manifest: Annotated[str | None, ManifestOption] = None,
    fresh: Annotated[bool, Fresh] = False,
    engine: Annotated[Literal["local", "ray"], EngineOption] = "local",
    workers: Annotated[int | None, Workers] = None,
    page: Annotated[int | None, Page] = None,
    max_pixels: Annotated[int, MaxPixels] = 2**29,
) -> None:
    """Restore images: files, folders and patterns, each into a file of its own.

    Grey, 16 bits, transparency, colour profile and metadata are kept where the output's format holds them.
    A run over a folder that was interrupted goes on with the same command.

    Exit code: 0, all restored; 1, some could not be, each told in a line, or the run had to stop;
    2, nothing done, as options, weights or names do not fit; 130, interrupted; 143, terminated.
    No half file is left.
    """
    from mambairv2.batch.jobs import Naming, plan_batch, settle
    from mambairv2.batch.worker import Reading
    from mambairv2.files import atomic, storage
    from mambairv2.images.formats import SaveOptions

    with _stoppable():
        side: Tile = "whole" if whole else tile or "auto"
        name, restorer = _load(weights, task, scale, "cpu" if engine == "ray" else device, side, overlap, self_ensemble)
        mark = f"_x{restorer.scale}" if restorer.scale > 1 else "_restored" if weights else f"_{task}"
        naming = Naming(output, mark, suffix, f".{extension.lstrip('.')}" if extension else None)
        with ExitStack() as stack:
            try:
                if engine == "ray":
                    import mambairv2.batch.ray_engine  # noqa: F401  or say what is missing, before any work
                batch = plan_batch(inputs, naming, recursive=recursive)
                if not batch.jobs:
                    _refuse("no images found" + ("" if recursive else "; for subfolders add --recursive"))
                reading = Reading(SaveOptions(quality, compression, strip), page, max_pixels)
                record = _record(manifest, batch, _settings(name, restorer, self_ensemble, reading))
                known = record.made_from if record is not None else {}
                known = dict.fromkeys(known) if fresh else known
                jobs, skipped = settle(batch.jobs, known, overwrite=overwrite, skip=skip_existing)
                folders = {Path(storage.split(job.target)[0]) for job in jobs if not storage.is_remote(job.target)}
                atomic.clean(folders)
                stack.callback(atomic.clean, folders)  # what workers left that died
                if record is not None:
                    stack.enter_context(record)
                    record.begin(job.target for job in jobs)
            except (ValueError, ImportError) as error:
                _refuse(str(error))
            view = stack.enter_context(_View(len(jobs), record))
            if engine == "ray":
                stopped = _on_ray(restorer, device, self_ensemble, jobs, reading, view, workers)
            else:
                stopped = _here(restorer, jobs, reading, view)
    if stopped:
        _complain(stopped)
    if len(batch.jobs) > 1:
        print(f"{view.restored} restored, {len(skipped) + view.unchanged} skipped, {view.failed} failed")
    if view.failed or stopped:
        raise typer.Exit(FAILED)


def _load(
    weights: str | None,
    task: TaskName,
    scale: int | None,
    device: str,
    tile: Tile,
    overlap: int,
    self_ensemble: bool,
) -> tuple[str, Restorer]:
    """The weights and the restorer that the options ask for; refuses those that do not fit."""
    from mambairv2.ops import slow_note
    from mambairv2.restoration.memory import keep_freed_memory
    from mambairv2.restoration.restorer import Restorer
    from mambairv2.tasks import weights_name

    keep_freed_memory()
    try:
        name = weights or weights_name(task, scale)
        restorer = Restorer(name, device, tile=tile, overlap=overlap, self_ensemble=self_ensemble)
    except ValueError as error:
        _refuse(str(error))
    if scale is not None and scale != restorer.scale:
        _refuse(f"{weights} enlarges by {restorer.scale}, not by --scale {scale}")
    if note := slow_note(restorer.device.type):
        print(note, file=sys.stderr, flush=True)
    return name, restorer


def _settings(weights: str, restorer: Restorer, self_ensemble: bool, reading: Reading) -> dict[str, object]:
    """What an output depends on beside its input, for the manifest."""
    from dataclasses import asdict

    from mambairv2.files.storage import sha256
    from mambairv2.weights.packaged import find_weights

    return {
        "weights": f"sha256:{sha256(find_weights(weights))}",
        "tile": restorer.tile,
        "overlap": restorer.overlap,
        "self_ensemble": self_ensemble,
        "page": reading.page,
        **(asdict(reading.options) if reading.options is not None else {}),
    }


def _record(manifest: str | None, batch: Batch, settings: dict[str, object]) -> Manifest | None:
    """The manifest that is asked for, or that of the output folder; None without."""
    from mambairv2.batch.manifest import NAME, Manifest
    from mambairv2.files.storage import join, tidy

    if manifest == "none" or (manifest is None and batch.folder is None):
        return None
    place = tidy(manifest) if manifest is not None else join(batch.folder or "", NAME)
    return Manifest(place, settings, version("mambairv2"))


def _here(restorer: Restorer, jobs: list[Job], reading: Reading, view: _View) -> str | None:
    """Do the jobs on this machine; returns why the run had to stop, if it had to."""
    from mambairv2.batch.manifest import ManifestError
    from mambairv2.batch.worker import Work, restore_here
    from mambairv2.files.atomic import scratch

    try:
        with scratch() as folder:
            restore_here(restorer, (Work(job, reading, folder) for job in jobs), view)
    except ManifestError as error:
        return str(error)
    return None


def _on_ray(
    restorer: Restorer,
    device: str,
    self_ensemble: bool,
    jobs: list[Job],
    reading: Reading,
    view: _View,
    workers: int | None,
) -> str | None:
    """Do the jobs on a cluster; returns why the run had to stop, if it had to."""
    from mambairv2.batch.manifest import ManifestError
    from mambairv2.batch.ray_engine import EngineError, Setup, restore_on_ray

    setup = Setup(restorer.model, device, restorer.tile, restorer.overlap, self_ensemble)
    try:
        restore_on_ray(setup, jobs, reading, view, workers)
    except (EngineError, ManifestError) as error:
        return str(error)
    return None


class _View:
    """What a run shows: a line for each file, a bar on a terminal; and the record of it."""

    def __init__(self, total: int, manifest: Manifest | None) -> None:
        self.restored = self.unchanged = self.failed = 0
        self._manifest = manifest
        self._console = Console(stderr=True)
        self._bar = Progress(
            console=self._console,
            transient=True,
            speed_estimate_period=3600,  # a tile may take minutes
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._console.is_terminal,  # or it ends what it did not draw with an empty line
        )
        self._files = self._bar.add_task("images", total=total, visible=total > 1)
        self._tiles: dict[Job, TaskID] = {}

    def __enter__(self) -> _View:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begun(self, job: Job) -> Tiles:
        """Show the tiles of a file that is being restored. Raises ManifestError."""
        if self._manifest is not None:
            self._manifest.begun(job.target)
        name = Path(job.source).name.replace("[", r"\[")
        self._tiles[job] = task = self._bar.add_task(name, total=None)
        return lambda done, total: self._bar.update(task, completed=done, total=total)

    def planned(self, job: Job, estimate: Estimate) -> None:
        """Tell what a file will take, if that is long or more memory than there is."""
        short = (estimate.seconds or 0) < LONG
        if not short or (estimate.free is not None and estimate.memory > estimate.free):
            self._say(f"{job.source}  {_forecast(estimate)}", sys.stderr)

    def done(self, outcome: Outcome) -> None:
        """Record and tell what became of a file. Raises ManifestError."""
        job = outcome.job
        if job in self._tiles:
            self._bar.remove_task(self._tiles.pop(job))
        self._bar.advance(self._files)
        if outcome.error is not None:
            self.failed += 1
            self._say(f"error: {outcome.error}", sys.stderr)
            if self._manifest is not None:
                self._manifest.failed(job.source, outcome.digest, job.target, outcome.error)
        elif outcome.unchanged:
            self.unchanged += 1
            if self._manifest is not None:
                self._manifest.unchanged(job.target)
        else:
            self.restored += 1
            self._say(_line(outcome), sys.stdout)
            if self._manifest is not None:
                figures = outcome.bytes, outcome.seconds, outcome.notes
                self._manifest.done(job.source, outcome.digest, job.target, *figures)

    def _say(self, text: str, stream: TextIO) -> None:
        """Print a line, above the bar where both are on the terminal."""
        if self._console.is_terminal and stream.isatty():
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)
        else:
            print(text, file=stream, flush=True)


def _line(outcome: Outcome) -> str:
    height, width = outcome.size
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    sizes = f"{width}x{height} -> {width * outcome.scale}x{height * outcome.scale}"
    return f"{outcome.job.source}  {sizes}  {outcome.seconds:.1f} s  {outcome.job.target}{notes}"


def _forecast(estimate: Estimate) -> str:
    """One line: size, tiles, memory, time."""
    from datetime import timedelta

    (height, width), (rows, columns) = estimate.size, estimate.tile
    pages = f"{estimate.pages} pages of " * (estimate.pages > 1)
    tiles = f"{estimate.tiles} tile{'s' * (estimate.tiles > 1)} of {columns}x{rows}"
    text = f"{pages}{width}x{height} ({estimate.pages * width * height / 1e6:.1f} megapixels), {tiles}"
    text += f", about {estimate.memory / 2**30:.1f} GiB of memory"
    if estimate.free is not None and estimate.memory > estimate.free:
        text += f" where {estimate.free / 2**30:.1f} GiB are free: try a smaller --tile"
    if estimate.seconds is not None:
        text += f", about {timedelta(seconds=round(estimate.seconds))}"
    return text


def _complain(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)


def _refuse(message: str) -> NoReturn:
    _complain(message)
    raise typer.Exit(USAGE)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Unwind on Ctrl-C and SIGTERM, so that temporary files are removed, and exit with the signal's code."""

    def stop(*_: object) -> NoReturn:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept, the same command goes on")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
