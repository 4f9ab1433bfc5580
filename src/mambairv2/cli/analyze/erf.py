"""The command `analyze erf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambairv2.cli.analyze.output import Folder, Weights, save
from mambairv2.cli.exits import telling
from mambairv2.cli.measuring.shared import Device, check_outputs, choose_weights
from mambairv2.cli.streams import say

if TYPE_CHECKING:
    from torch import Tensor

    from mambairv2.network.model import MambaIRv2


def erf(
    images: Annotated[Path, typer.Argument(help="Folder of images, as the network takes them.", file_okay=False)],
    weights: Annotated[str, Weights] = "sr-x4",
    count: Annotated[int, typer.Option(min=1, help="Images to average over, the first in order of names.")] = 20,
    side: Annotated[
        int, typer.Option(min=32, help="Side of the middle that is taken of each image; smaller ones are passed over.")
    ] = 96,
    output: Annotated[Path, Folder] = Path("analysis"),
    device: Annotated[str, Device] = "auto",
) -> None:
    """Show the effective receptive field: which input pixels move an output pixel in the middle.

    It is that of the network, of the same weights without attentive scans, and of the same weights with scans in the
    order of rows and without prompts; then that of each scan alone.

    Exit code: 0, written; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        chosen = choose_weights(weights)

        from dataclasses import asdict

        from mambairv2.analysis.plots.receptive_field import draw
        from mambairv2.analysis.receptive_field import attention_only, causal, receptive_field, scan_fields
        from mambairv2.analysis.recording import with_prompts

        pixels = _read(images, chosen.config.in_channels, side, count)
        model = with_prompts(chosen.load(device))
        check_outputs([output / "erf.json"])
        networks: dict[str, MambaIRv2] = {
            "the network": model,
            "attention only": attention_only(model),
            "causal, no prompts": causal(model),
        }
        fields = {}
        for name, network in networks.items():
            fields[name] = receptive_field(network, pixels, chosen.config.upscale)
            say(
                f"{name}: half within {fields[name].radius(0.5)} pixels, 95 % within {fields[name].radius(0.95)}, "
                f"{100 * fields[name].later:.1f} % from later pixels"
            )
        scans = scan_fields(model, pixels)
        entries = {
            name: {"later": field.later, "within": field.within().tolist(), "radius of half": field.radius(0.5)}
            for name, field in fields.items()
        }
        about = {"weights": weights, "images": len(pixels), "side": side}
        save(
            output,
            "erf",
            {**about, "networks": entries, "scans alone": [asdict(scan) for scan in scans]},
            {name: field.share for name, field in fields.items()},
            lambda: draw(fields, scans),
        )


def _read(folder: Path, channels: int, side: int, count: int) -> list[Tensor]:
    """Read the first images that are large enough; raises FileNotFoundError for no images, ValueError for too few."""
    from mambairv2.analysis.recording import read_image
    from mambairv2.images.folders import list_images

    found = []
    for path in list_images([folder]):
        image = read_image(path, channels, side)
        if min(image.shape[1:]) == side:
            found.append(image)
        if len(found) == count:
            return found
    raise ValueError(f"{folder}: {len(found)} images are at least {side}×{side}, --count is {count}")
