"""Picture of the scan: directions, memory, and what semantic neighbouring changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mambairv2.analysis.scan import EDGES, Floats, LayerScan, half_life

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER_SIMILARITY = 0.7
"""The paper's figure for networks that scan in four directions."""
ORDERS = ("image order", "order of prompts")


def draw(layers: Sequence[LayerScan]) -> Figure:
    """Draw, for all layers, similarity of directions, half-life of states, memory between pixels, and neighbours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    names = [layer.layer for layer in layers]
    _draw_similarity(axes[0], layers)
    _draw_half_lives(figure, axes[1], layers)
    _draw_memory(axes[2], layers)
    _draw_pair(axes[3], np.stack([layer.jump for layer in layers]), "distance of neighbours in the image, pixels")
    axes[3].set_yscale("log")
    _draw_pair(axes[4], np.stack([layer.alikeness[:2] for layer in layers]), "cosine similarity of neighbours' inputs")
    axes[4].plot([layer.alikeness[2] for layer in layers], color="0.6", linestyle=":", label="random pairs")
    _draw_between(axes[5], layers)
    for one in (axes[0], axes[3], axes[4]):
        one.set_xticks(range(len(names)), names, fontsize=6, rotation=90)
    for one in (axes[0], *axes[2:]):
        one.legend(fontsize=7, frameon=False)
    return figure


def pair_mean(similarity: Floats) -> float:
    """Return the mean over the six pairs of directions."""
    return float(similarity[np.triu_indices(4, 1)].mean())


def _draw_similarity(axes: Axes, layers: Sequence[LayerScan]) -> None:
    axes.plot([pair_mean(layer.similarity) for layer in layers], marker=".", label="with D · u")
    axes.plot([pair_mean(layer.similarity_of_states) for layer in layers], marker=".", label="without")
    axes.axhline(PAPER_SIMILARITY, color="0.5", linestyle=":", label="the paper's 0.7")
    axes.set_ylim(top=1.02)
    axes.set_title("cosine similarity of four directions, mean of pairs", fontsize=8)


def _draw_half_lives(figure: Figure, axes: Axes, layers: Sequence[LayerScan]) -> None:
    from matplotlib.colors import LogNorm

    distances = 2 ** np.arange(layers[0].memory.shape[-1])
    lives = np.array([[half_life(state, distances) for state in layer.memory[0]] for layer in layers])
    drawn = axes.imshow(np.minimum(lives, distances[-1]), aspect="auto", cmap="viridis", norm=LogNorm())
    axes.set_title("half-life of a state, steps", fontsize=8)
    axes.set_xlabel("state", fontsize=7)
    axes.set_yticks(range(len(layers)), [layer.layer for layer in layers], fontsize=6)
    figure.colorbar(drawn, ax=axes)


def _draw_memory(axes: Axes, layers: Sequence[LayerScan]) -> None:
    distances = 2 ** np.arange(layers[0].memory.shape[-1])
    mean = np.mean([layer.memory for layer in layers], axis=0)
    for order, name in enumerate(ORDERS):
        colour = f"C{order}"
        axes.plot(distances, mean[order].mean(axis=0), color=colour, label=f"{name}, all states")
        axes.plot(distances, mean[order, 0], color=colour, linestyle="--", label="its first state")
    axes.set_xscale("log", base=2)
    axes.set_title("what is left after so many steps", fontsize=8)


def _draw_pair(axes: Axes, values: Floats, title: str) -> None:
    for order, name in enumerate(ORDERS):
        axes.plot(values[:, order], marker=".", color=f"C{order}", label=name)
    axes.set_title(title, fontsize=8)


def _draw_between(axes: Axes, layers: Sequence[LayerScan]) -> None:
    centres = np.sqrt(np.array(EDGES[:-1]) * np.array(EDGES[1:]))
    between = np.stack([layer.memory_between for layer in layers])
    for order, name in enumerate(ORDERS):
        for among, style in enumerate(("-", "--")):
            some = np.isfinite(between[:, order, among]).any(axis=0)
            mean = np.nanmean(between[:, order, among][:, some], axis=0)
            words = name if among == 0 else f"{name}, same prompt"
            axes.plot(centres[some], mean, color=f"C{order}", linestyle=style, marker=".", label=words)
    axes.set_xscale("log", base=2)
    axes.set_title("what is left between two pixels so far apart", fontsize=8)
    axes.set_xlabel("distance in the image, pixels", fontsize=7)
