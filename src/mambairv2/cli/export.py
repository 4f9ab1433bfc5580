"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mambairv2.cli.exits import USAGE, telling
from mambairv2.cli.streams import say


def export(
    weights: Annotated[
        str, typer.Argument(help="A packaged name (see `mambairv2 models`), or a .safetensors or .pth file.")
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
        target = output or Path(f"{Path(weights).stem if Path(weights).suffix else weights}.onnx")
        if target.exists() and not overwrite:
            raise ValueError(f"{target}: exists; add --overwrite to replace it")
        from mambairv2.export import to_onnx

        difference = to_onnx(weights, target, precision=precision)
        size = target.stat().st_size / 1e6
        say(f"{weights} -> {target}  {size:.1f} MB, {precision}, within {difference:.0e} of PyTorch")
