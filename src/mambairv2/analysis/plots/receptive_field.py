"""Picture of effective receptive fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mambairv2.analysis.receptive_field import ReceptiveField, ScanField

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-7
"""Smallest share that a map tells from nothing."""


def draw(fields: Mapping[str, ReceptiveField], scans: Sequence[ScanField]) -> Figure:
    """Draw a map for each network, the share within a distance, and where single scans look."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 2 * len(fields))
    drawn = None
    for number, (name, field) in enumerate(fields.items()):
        axes = figure.add_subplot(grid[0, 2 * number : 2 * number + 2])
        radius = field.share.shape[0] // 2
        around = (-radius - 0.5, radius + 0.5, radius + 0.5, -radius - 0.5)
        shown = np.maximum(field.share, FLOOR)
        drawn = axes.imshow(shown, norm=LogNorm(FLOOR, 1e-1), cmap="magma", extent=around)
        axes.set_title(f"{name}: {100 * field.later:.0f} % from later pixels", fontsize=8)
        axes.tick_params(labelsize=7)
    if drawn is not None:
        figure.colorbar(drawn, ax=figure.axes, shrink=0.8, label="share of the gradient")
    axes = figure.add_subplot(grid[1, : len(fields)])
    for name, field in fields.items():
        axes.plot(100 * (1 - field.within()), label=name)
    axes.set_yscale("log")
    axes.set_xlabel("distance, pixels", fontsize=8)
    axes.set_title("% of the gradient from farther away", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    axes = figure.add_subplot(grid[1, len(fields) :])
    for words, of in (
        ("itself", "own"),
        ("later in the image", "later_in_image"),
        ("over 16 pixels away", "far"),
    ):
        axes.plot([100 * getattr(scan, of) for scan in scans], marker=".", label=words)
    axes.set_xticks(range(len(scans)), [scan.layer for scan in scans], fontsize=6, rotation=90)
    axes.set_title("one attentive scan alone: % of the gradient from the token …", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure
