"""The command line. Torch is imported inside the commands, so that --help and --version are quick."""

from __future__ import annotations

import logging
import os
import platform
from importlib.metadata import version
from typing import Annotated

import typer

from mambairv2 import cli_restore, cli_train

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
    # Threads that wait sleep: spinning ones starve whatever else runs, and then wait for it. With one busy
    # process beside, a restoration took 5 s instead of 30 s on two cores. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


app.command()(cli_restore.restore)


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


cli_train.register(app)

if __name__ == "__main__":
    app()
