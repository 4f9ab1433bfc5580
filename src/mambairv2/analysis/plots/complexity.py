"""Picture of where the multiply-accumulates go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mambairv2.analysis.complexity import KINDS, Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(networks: Mapping[str, Mapping[str, Share]]) -> Figure:
    """Draw the shares of each kind of step, a bar a network, for multiply-accumulates and parameters.

    networks: by name, what `by_kind` returns.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 + 0.5 * len(networks)), layout="constrained")
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for axes, of in zip(figure.subplots(1, 2, sharey=True), ("macs", "parameters"), strict=True):
        for row, (name, shares) in enumerate(networks.items()):
            total, left = sum(getattr(share, of) for share in shares.values()), 0.0
            for colour, kind in zip(colours, KINDS, strict=False):
                part = 100 * getattr(shares[kind], of) / total
                axes.barh(name, part, left=left, color=colour, label=kind if row == 0 else None)
                left += part
            words = f"{total / 1e9:,.0f} G" if of == "macs" else f"{total / 1e3:,.0f} K"
            axes.text(101, row, words, va="center", fontsize=8)
        axes.set_xlim(0, 116)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("% of multiply-accumulates" if of == "macs" else "% of parameters")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylim(len(networks) - 0.4, -0.6)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure
