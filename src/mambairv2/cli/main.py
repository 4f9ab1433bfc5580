"""The command line. Torch is imported inside the commands, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
import platform
from importlib.metadata import version
from typing import Annotated

import typer

from mambairv2.cli import data, evaluate, reproduce, restore, train

app = typer.Typer(
    name="mambairv2",
    help="Restore images with MambaIRv2: super-resolution, denoising, removal of JPEG artifacts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    # Threads that wait soon sleep: ones that spin on starve whatever else runs, and then wait for it. With one busy
    # process beside, a restoration took 5 s instead of 30 s on two cores. GNU's pool spins for some microseconds,
    # which is from one operation to the next; others not at all. Read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


app.command()(restore.restore)


@app.command()
def info() -> None:
    """Print the versions, the devices, the backends (and why one is missing) and the packaged weights."""
    import pyvips
    import torch

    from mambairv2.ops import backends
    from mambairv2.restoration.device import pick_device
    from mambairv2.weights.packaged import pretrained

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


@app.command()
def models() -> None:
    """List the packaged weights: task, scale, parameters, size, and PSNR / SSIM on test sets beside the input's.

    Exit code: 0; 1 if a card is damaged.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from mambairv2.tasks import TASKS
    from mambairv2.weights.model_card import read_card
    from mambairv2.weights.packaged import pretrained

    heads = ("name", "task", "scale", "parameters", "size", "test set", "protocol", "result", "input", "gain")
    table = Table(*heads, box=box.SIMPLE_HEAD)
    for name, path in pretrained().items():
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        if not path.with_suffix(".json").exists():
            table.add_row(name, "(no card)", "", "", size)
            continue
        try:
            card = read_card(path.with_suffix(".json"))
        except (ValueError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        about = (name, TASKS[card.task].summary, f"×{card.scale}", f"{card.parameters:,}", size)
        for row, f in enumerate(card.sets):
            pairs = f"{f.psnr:.2f} / {f.ssim:.4f}", f"{f.base_psnr:.2f} / {f.base_ssim:.4f}"
            first = about if row == 0 else ("",) * len(about)
            table.add_row(*first, f.set, f.protocol, *pairs, f"{f.psnr - f.base_psnr:+.2f}")
        if not card.sets:
            table.add_row(*about)
    console = Console()
    # A pipe gets whole lines; a terminal gets what fits.
    (console if console.is_terminal else Console(width=160)).print(table if table.rows else "none packaged")


app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(reproduce.reproduce)
_data = typer.Typer(help="Training images.", no_args_is_help=True)
_data.command()(data.check)
app.add_typer(_data, name="data")
