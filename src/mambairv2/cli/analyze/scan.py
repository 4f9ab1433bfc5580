"""The command `analyze scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.analyze.output import Folder, Image, Side, Weights, save
from mambairv2.cli.exits import telling
from mambairv2.cli.measuring.shared import Device, check_outputs, choose_weights
from mambairv2.cli.streams import say


def scan(
    image: Annotated[Path, Image],
    weights: Annotated[str, Weights] = "sr-x4",
    side: Annotated[int, Side] = 128,
    drawn: Annotated[
        bool, typer.Option("--drawn", help="Order tokens by drawn prompts, as in training, not by the likeliest.")
    ] = False,
    output: Annotated[Path, Folder] = Path("analysis"),
    device: Annotated[str, Device] = "auto",
) -> None:
    """Show how alike the four directions of a scan are, how far it remembers, and what semantic neighbouring changes.

    A network with one direction is scanned in four with the same parameters, without prompts. The image is cut to whole
    windows.

    Exit code: 0, written; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        chosen = choose_weights(weights)

        import numpy as np

        from mambairv2.analysis.plots.scan import draw, pair_mean
        from mambairv2.analysis.recording import read_image, scans_of
        from mambairv2.analysis.scan import EDGES, half_life, study_scans, whole_windows

        pixels = read_image(image, chosen.config.in_channels, side)
        model = chosen.load(device)
        scans_of(model)  # a network without scans is told in one line
        pixels = whole_windows(pixels, model)
        check_outputs([output / "scan.json"])
        layers = study_scans(model, pixels, drawn=drawn)
        distances = 2 ** np.arange(layers[0].memory.shape[-1])
        entries: list[dict[str, object]] = []
        for layer in layers:
            lives = [[half_life(state, distances) for state in order] for order in layer.memory]
            similar = pair_mean(layer.similarity), pair_mean(layer.similarity_of_states)
            say(
                f"layer {layer.layer}: directions {similar[0]:.2f} alike, {similar[1]:.2f} without D · u; half-life "
                f"{min(lives[0]):.1f} to {max(lives[0]):.0f} steps; neighbours {layer.jump[0]:.1f} pixels apart and "
                f"{layer.alikeness[0]:.2f} alike, sorted {layer.jump[1]:.1f} and {layer.alikeness[1]:.2f}"
            )
            entries.append(
                {
                    "layer": layer.layer,
                    "similarity of directions": similar[0],
                    "similarity without D · u": similar[1],
                    "half-life in steps, by state": lives[0],
                    "half-life in the order of prompts": lives[1],
                    "distance of neighbours in the image": layer.jump.tolist(),
                    "similarity of neighbours, and of random pairs": layer.alikeness.tolist(),
                    "left between pixels": _without_gaps(layer.memory_between.tolist()),
                }
            )
        fields = ("similarity", "similarity_of_states", "memory", "memory_between", "jump", "alikeness")
        arrays = {field: np.stack([getattr(layer, field) for layer in layers]) for field in fields}
        about = {"weights": weights, "image": image.name, "drawn": drawn, "size": [pixels.shape[2], pixels.shape[1]]}
        figures = {**about, "steps": distances.tolist(), "bounds of distances": list(EDGES), "layers": entries}
        save(output, "scan", figures, arrays, lambda: draw(layers))


def _without_gaps(values: object) -> object:
    """Replace NaN, which JSON does not have, by None in nested lists."""
    if isinstance(values, list):
        return [_without_gaps(value) for value in values]
    return None if values != values else values
