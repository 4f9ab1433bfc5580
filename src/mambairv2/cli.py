"""The command line. Torch is imported inside the commands, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TextIO

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from mambairv2 import cli_train

if TYPE_CHECKING:
    from mambairv2.batch import Job
    from mambairv2.encoding import SaveOptions
    from mambairv2.restorer import Restored, Restorer, Tile
    from mambairv2.tasks import TaskName

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143

app = typer.Typer(
    name="mambairv2",
    help="Restore images with MambaIRv2: super-resolution, denoising, removal of JPEG artifacts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[
    list[str], typer.Argument(help="Image files, folders, quoted patterns such as 'a/**/*.png'.")
]
Output = typer.Option(
    "--output", "-o", help="A file for one input, else a folder. Default: beside the input."
)
TaskOption = typer.Option("--task", help="Which packaged weights to use.")
Scale = typer.Option(help="Enlargement, for --task sr: 2, 3 or 4. Default: 2.")
Weights = typer.Option(help="A packaged name or a file (.safetensors, .pth), instead of --task.")
Device = typer.Option(help="auto, cpu, cuda, cuda:1 ...")
TileSide = typer.Option(
    help="Largest side of a tile in input pixels, by 16. Default: 256, less if memory is short."
)
Overlap = typer.Option(help="Input pixels that neighbouring tiles share, by 16.")
Whole = typer.Option("--whole", help="Never tile, whatever memory it takes.")
Extension = typer.Option("--format", help="Format of outputs: png, jpg, webp or tif. Default: the input's.")
Quality = typer.Option(min=1, max=100, help="JPEG and WebP; 100 makes WebP lossless.")
Compression = typer.Option(min=0, max=9, help="PNG and TIFF: 0 none to 9 smallest.")
Strip = typer.Option("--strip", help="Leave metadata out, all but the colour profile.")
Suffix = typer.Option(help="Added to the names of outputs, such as _big.")
Recursive = typer.Option("--recursive", "-r", help="Take the subfolders of folders too.")
SkipExisting = typer.Option("--skip-existing", help="Leave outputs that exist as they are.")
Overwrite = typer.Option("--overwrite", help="Replace outputs that exist; an input never.")
Page = typer.Option(min=0, help="Page or frame of files that hold several, from 0.")
MaxPixels = typer.Option(min=1, help="Refuse larger images: a guard against decompression bombs.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mambairv2 {version('mambairv2')}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # what matters comes as an error of ours
    # Threads that wait sleep: spinning ones starve whatever else runs, and then wait for it. With one busy
    # process beside, a restoration took 5 s instead of 30 s on two cores. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@app.command()
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
    extension: Annotated[str | None, Extension] = None,
    quality: Annotated[int, Quality] = 95,
    compression: Annotated[int, Compression] = 6,
    strip: Annotated[bool, Strip] = False,
    suffix: Annotated[str | None, Suffix] = None,
    recursive: Annotated[bool, Recursive] = False,
    skip_existing: Annotated[bool, SkipExisting] = False,
    overwrite: Annotated[bool, Overwrite] = False,
    page: Annotated[int | None, Page] = None,
    max_pixels: Annotated[int, MaxPixels] = 2**29,
) -> None:
    """Restore images: files, folders and patterns, each into a file of its own.

    Grey, 16 bits, transparency, colour profile and metadata are kept where the output's format holds them.

    Exit code: 0, all restored; 1, some could not be, each told in a line; 2, nothing done, as
    options, weights or names do not fit; 130, interrupted; 143, terminated. No half file is left.
    """
    from mambairv2.batch import BatchError, Naming, plan_jobs
    from mambairv2.encoding import SaveOptions

    with _stoppable():
        restorer = _load(weights, task, scale, device, "whole" if whole else tile or "auto", overlap)
        mark = f"_x{restorer.scale}" if restorer.scale > 1 else "_restored" if weights else f"_{task}"
        naming = Naming(output, mark, suffix, f".{extension.lstrip('.')}" if extension else None)
        try:
            jobs, skipped = plan_jobs(
                inputs, naming, recursive=recursive, overwrite=overwrite, skip=skip_existing
            )
        except BatchError as error:
            _refuse(str(error))
        if not jobs and not skipped:
            _refuse("no images found" + ("" if recursive else "; for subfolders add --recursive"))
        failed = _restore_all(restorer, jobs, SaveOptions(quality, compression, strip), page, max_pixels)
    if len(jobs) + len(skipped) > 1:
        print(f"{len(jobs) - failed} restored, {len(skipped)} skipped, {failed} failed")
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def info() -> None:
    """Print the versions, the devices, the backends (and why one is missing) and the packaged weights."""
    import pyvips
    import torch

    from mambairv2.ops import backends
    from mambairv2.restorer import pick_device
    from mambairv2.weights import pretrained

    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"mambairv2  {version('mambairv2')}")
    print(f"python     {platform.python_version()} on {platform.platform()}")
    print(f"torch      {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"libvips    {'.'.join(str(pyvips.version(part)) for part in range(3))}")
    print(f"device     {device} ({name})")
    for backend, missing in backends().items():
        print(f"backend    {backend}: {'available' if missing is None else f'missing, {missing}'}")
    for name, path in pretrained().items():
        print(f"weights    {name}: {path}")
    if not pretrained():
        print("weights    none packaged")


def _load(
    weights: str | None, task: TaskName, scale: int | None, device: str, tile: Tile, overlap: int
) -> Restorer:
    """The restorer that the options ask for; refuses those that do not fit."""
    from mambairv2.memory import keep_freed_memory
    from mambairv2.restorer import Restorer
    from mambairv2.tasks import weights_name

    keep_freed_memory()
    try:
        restorer = Restorer(weights or weights_name(task, scale), device, tile=tile, overlap=overlap)
    except ValueError as error:
        _refuse(str(error))
    if scale is not None and scale != restorer.scale:
        _refuse(f"{weights} enlarges by {restorer.scale}, not by --scale {scale}")
    return restorer


def _restore_all(
    restorer: Restorer, jobs: list[Job], options: SaveOptions, page: int | None, max_pixels: int
) -> int:
    """Do the jobs, a line for each; returns how many failed."""
    failed = 0
    console = Console(stderr=True)
    bar = Progress(
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,  # or it ends what it did not draw with an empty line
    )
    with bar:
        files = bar.add_task("images", total=len(jobs), visible=len(jobs) > 1)
        for job in jobs:
            tiles = bar.add_task(job.source.name.replace("[", r"\["), total=None)

            def show(done: int, total: int, tiles: TaskID = tiles) -> None:
                bar.update(tiles, completed=done, total=total)

            try:
                restored = restorer.restore_file(
                    job.source, job.target, options=options, page=page, max_pixels=max_pixels, progress=show
                )
                _say(_line(restored), bar.console)
            except Exception as error:  # whatever is wrong with one file, the others go on
                failed += 1
                _say(f"error: {_reason(error, job)}", bar.console, sys.stderr)
            bar.remove_task(tiles)
            bar.advance(files)
    return failed


def _say(text: str, console: Console, stream: TextIO | None = None) -> None:
    """Print a line, above the bar where both are on the terminal."""
    stream = stream or sys.stdout
    if console.is_terminal and stream.isatty():
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    else:
        print(text, file=stream, flush=True)


def _line(restored: Restored) -> str:
    height, width = restored.size
    scale = restored.scale
    notes = f" ({'; '.join(restored.notes)})" if restored.notes else ""
    sizes = f"{width}x{height} -> {width * scale}x{height * scale}"
    return f"{restored.source}  {sizes}  {restored.seconds:.1f} s  {restored.target}{notes}"


def _reason(error: Exception, job: Job) -> str:
    from mambairv2.images import ImageError

    if isinstance(error, ImageError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{job.source}: {text if isinstance(error, MemoryError) else f'{type(error).__name__}: {text}'}"


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
        _complain("interrupted; what was finished is kept")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


cli_train.register(app)

if __name__ == "__main__":
    app()
