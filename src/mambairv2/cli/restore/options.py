"""The options of `restore` and their help."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from mambairv2.files.names import shown
from mambairv2.tasks import TASKS

_MANY, _WRITING, _NETWORK = "Many files", "Outputs", "Network"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS...",
        help="Images, folders, or quoted patterns such as 'a/**/*.png'; local, or remote such as s3://…",
    ),
]
Output = typer.Option(
    "--output",
    "-o",
    help="A file for one input, else a folder; local, or remote such as s3://… Default: beside inputs.",
)
Page = typer.Option(min=0, help="Page or frame of a file that holds several; the first is 0. Default: all.")
MaxPixels = typer.Option(min=1, help="Refuse larger images. This guards against decompression bombs.")


def _known_task(task: str | None) -> str | None:
    if task is not None and task not in TASKS:
        raise typer.BadParameter(f"no task {task!r}; choose {', '.join(TASKS)}")
    return task


Task = typer.Option(
    "--task",
    help=f"{', '.join(TASKS)}; it chooses among the packaged weights. sr is for clean pictures. "
    "Default: what suits each file, as far as there are weights for it; the line of the file says which were used.",
    callback=_known_task,
    rich_help_panel=_NETWORK,
)
Scale = typer.Option(
    help="Enlargement: 2, 3 or 4, or 1 for --task photo. Default: 2, where the task enlarges.", rich_help_panel=_NETWORK
)
Strength = typer.Option(
    min=0,
    max=1,
    help="Share of the network in the result. The rest is a plain enlargement, or the input where nothing is enlarged.",
    rich_help_panel=_NETWORK,
)
Weights = typer.Option(
    help="Weights to use instead of --task: a packaged or published name (see `mambairv2 models`), a file "
    "(.safetensors, .pth, .onnx), a folder, or owner/repo on the Hugging Face Hub.",
    rich_help_panel=_NETWORK,
)
TileSide = typer.Option(
    help="Largest side of a tile in input pixels, a multiple of 16. Default: 256, less if memory is short.",
    rich_help_panel=_NETWORK,
)
Overlap = typer.Option(help="Input pixels that neighbouring tiles share, a multiple of 16.", rich_help_panel=_NETWORK)
Whole = typer.Option("--whole", help="Do not tile, however much memory that takes.", rich_help_panel=_NETWORK)
Margin = typer.Option(
    "--margin/--no-margin",
    help="Let the network see pictures mirrored beyond their edges, so that flat colours stay flat up to the border. "
    "Without it, it takes less time and is as the published code.",
    rich_help_panel=_NETWORK,
)
Ensemble = typer.Option(
    "--self-ensemble",
    help="Average over eight rotations and reflections. Slightly better, 8 times slower.",
    rich_help_panel=_NETWORK,
)
Precision = typer.Option(
    help="What the network computes in. Half precision saves memory on a GPU. On a CPU bfloat16 is faster where the "
    "processor has it (AVX512-BF16), else float32 stays; float16 is slower there.",
    rich_help_panel=_NETWORK,
)

Extension = typer.Option(
    "--format", help="Format of outputs: png, jpg, webp or tif. Default: that of the input.", rich_help_panel=_WRITING
)
Quality = typer.Option(
    min=1, max=100, help="Quality of JPEG and WebP. 100 makes WebP lossless.", rich_help_panel=_WRITING
)
Compression = typer.Option(
    min=0, max=9, help="Compression of PNG and TIFF, from 0 (none) to 9 (smallest).", rich_help_panel=_WRITING
)
KeepHidden = typer.Option(
    "--keep-hidden",
    help="Keep the colour of fully transparent pixels, as textures need it.",
    rich_help_panel=_WRITING,
)
Strip = typer.Option("--strip", help="Leave out all metadata but the colour profile.", rich_help_panel=_WRITING)
Suffix = typer.Option(help="Added to the names of outputs, such as _big.", rich_help_panel=_WRITING)
SkipExisting = typer.Option("--skip-existing", help="Leave outputs that exist as they are.", rich_help_panel=_WRITING)
Overwrite = typer.Option(
    "--overwrite", help="Replace outputs that exist. Inputs are never replaced.", rich_help_panel=_WRITING
)

Recursive = typer.Option("--recursive", "-r", help="Include the subfolders of folders.", rich_help_panel=_MANY)
Record = typer.Option(
    "--manifest",
    help="Record by which an interrupted run continues, or none. Default: manifest.jsonl in the output folder.",
    rich_help_panel=_MANY,
)
Fresh = typer.Option("--fresh", help="Restore again what the manifest records as done.", rich_help_panel=_MANY)
Engine = typer.Option(
    help="local: this machine. ray: the Ray cluster of RAY_ADDRESS, or one on this machine.", rich_help_panel=_MANY
)
Workers = typer.Option(
    min=1,
    help="Images restored at once: by threads that share the cores of this machine (default: 1), or by processes of "
    "--engine ray (default: one a GPU, or one a machine).",
    rich_help_panel=_MANY,
)


def _known_device(device: str) -> str:
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d+)?", device):
        raise typer.BadParameter(f"unknown device {shown(device)}; choose auto, cpu, cuda or cuda:1")
    return device


Device = typer.Option(
    help="auto, cpu, cuda, cuda:1 … auto takes a CUDA GPU if there is one.",
    callback=_known_device,
    rich_help_panel=_NETWORK,
)
