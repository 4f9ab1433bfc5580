"""The command `export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from mambairv2.cli.exits import USAGE, telling
from mambairv2.cli.streams import say


def export(
    weights: Annotated[
        str,
        typer.Argument(
            help="A packaged or published name (see `mambairv2 models`), a .safetensors or .pth file, or owner/repo "
            "on the Hugging Face Hub."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The ONNX file. Default: the name of the weights.")
    ] = None,
    precision: Annotated[
        Literal["float32", "float16"], typer.Option(help="float16 halves the file; the scan stays in float32.")
    ] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write weights as an ONNX file for ONNX Runtime, OpenVINO and browsers.

    The file takes images of any size, and `mambairv2 restore --weights` takes the file. It is compared with PyTorch
    before it is left behind.

    Exit codes: 0. 2, if nothing was written.
    """
    with telling(USAGE):
        target = output or Path(f"{_last_name(weights)}.onnx")
        if target.is_dir():
            raise ValueError(f"{target} is a folder; give a file to write")
        if target.exists() and not overwrite:
            raise ValueError(f"{target}: exists; add --overwrite to replace it")
        from mambairv2.export import to_onnx

        difference = to_onnx(weights, target, precision=precision)
        size = target.stat().st_size / 1e6
        say(f"{weights} -> {target}  {size:.1f} MB, {precision}, within {difference:.0e} of PyTorch")


def _last_name(weights: str) -> str:
    """Return the last part of a path, an address on the Hub or a published name, without the suffix of a file."""
    last = re.split(r"[/\\:]", weights.rstrip("/\\"))[-1]
    return Path(last).stem if last.endswith((".safetensors", ".pth", ".pt")) else last
