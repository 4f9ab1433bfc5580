"""Picture of the prompts over an image, layer by layer, with their use and stability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mambairv2.analysis.routing import Routing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5


def draw(
    image: npt.NDArray[np.float32], layers: Sequence[Routing], stable: Mapping[str, Sequence[float]], prompts: int
) -> Figure:
    """Draw the image (C, h, w), a map of labels for each layer, and two charts over layers.

    stable: what `stability` returns. In a map the most frequent prompt is grey, the ten after it are colours in the
    order of their frequency, all others are black.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    colours = ListedColormap(["0.92", *colormaps["tab10"].colors, "black"])  # type: ignore[attr-defined]
    rows = 1 + -(-len(layers) // COLUMNS)
    height, width = image.shape[1:]
    figure = Figure(figsize=(2.1 * COLUMNS, (2.1 * height / width + 0.25) * rows + 0.2), layout="constrained")
    grid = figure.add_gridspec(rows, COLUMNS)
    axes = figure.add_subplot(grid[0, 0])
    axes.imshow(np.clip(image.transpose(1, 2, 0), 0, 1) if len(image) == 3 else image[0], cmap="gray")
    _bare(axes, "image")
    _draw_use(figure.add_subplot(grid[0, 1:3]), layers, prompts)
    _draw_stability(figure.add_subplot(grid[0, 3:]), layers, stable)
    for number, layer in enumerate(layers):
        axes = figure.add_subplot(grid[1 + number // COLUMNS, number % COLUMNS])
        axes.imshow(_ranked(layer.labels), cmap=colours, vmin=0, vmax=11, interpolation="nearest")
        _bare(axes, f"{layer.layer}: {layer.used} prompts, {layer.entropy:.1f} bits")
    return figure


def _ranked(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Replace each label by its place among the labels, the most frequent first."""
    values, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    place = np.empty(len(values), np.int64)
    place[np.argsort(-counts)] = np.arange(len(values))
    return place[inverse.reshape(labels.shape)]


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_use(axes: Axes, layers: Sequence[Routing], prompts: int) -> None:
    places = range(len(layers))
    axes.bar(places, [layer.used for layer in layers], color="0.8", label="used")
    effective = [2**layer.entropy for layer in layers]
    axes.bar(places, effective, color="tab:blue", width=0.5, label="2 to the entropy")
    axes.axhline(prompts, color="0.3", linewidth=0.8, linestyle="--")
    axes.set_title(f"prompts of {prompts}", fontsize=8)
    _label_layers(axes, layers)


def _draw_stability(axes: Axes, layers: Sequence[Routing], stable: Mapping[str, Sequence[float]]) -> None:
    for name, shares in stable.items():
        axes.plot([100 * share for share in shares], marker=".", label=name)
    axes.plot([100 * layer.chance for layer in layers], color="0.6", linestyle=":", label="by chance")
    axes.set_ylim(0, 102)
    axes.set_title("% of pixels that keep their prompt", fontsize=8)
    _label_layers(axes, layers)


def _label_layers(axes: Axes, layers: Sequence[Routing]) -> None:
    axes.set_xticks(range(len(layers)), [layer.layer for layer in layers], fontsize=6, rotation=90)
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=6, frameon=False, ncols=2)
