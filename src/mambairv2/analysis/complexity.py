"""Where parameters and multiply-accumulates go: by kind of step, by module, and what published counts add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mambairv2.network.complexity import Item, items
from mambairv2.network.config import MambaIRv2Config

KINDS = (
    "window attention",
    "feed-forwards",
    "scan: recurrence",
    "scan: maps and position",
    "scan: routing and pool",
    "3×3 convolutions",
    "head",
    "layer norms and scales",
)
"""The kinds of steps, in the order of pictures and tables."""
_ROUTING = ("route 1", "route 2", "pool", "choice")


@dataclass(frozen=True)
class Share:
    """What one part costs; the counts are those of `network.complexity.Item`."""

    parameters: int = 0
    macs: float = 0.0
    published: float = 0.0

    def __add__(self, other: Item | Share) -> Share:
        """Return the sum of both counts."""
        return Share(self.parameters + other.parameters, self.macs + other.macs, self.published + other.published)


def input_size(config: MambaIRv2Config, output: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the smallest input whose output covers so many pixels."""
    return -(-output[0] // config.upscale), -(-output[1] // config.upscale)


def count(config: MambaIRv2Config, output: tuple[int, int]) -> list[Item]:
    """Return the cost of every step for one output of height and width `output`, in pixels."""
    return items(config, *input_size(config, output))


def kind_of(item: Item) -> str:
    """Return the kind of a step, one of `KINDS`."""
    last = item.module.rpartition(".")[2]
    if "norm" in item.step or item.step == "scales" or item.module in ("norm", "norm_first"):
        return KINDS[7]
    if last == "attention":
        return KINDS[0]
    if last.startswith("ffn"):
        return KINDS[1]
    if last == "attentive_scan":
        return KINDS[2] if item.step == "scan" else KINDS[4] if item.step in _ROUTING else KINDS[3]
    return KINDS[6] if item.module == "head" else KINDS[5]


def by_kind(found: Iterable[Item]) -> dict[str, Share]:
    """Return the cost of each kind of step, in the order of `KINDS`."""
    shares = dict.fromkeys(KINDS, Share())
    for item in found:
        shares[kind_of(item)] += item
    return shares


def by_module(found: Iterable[Item], depth: int) -> dict[str, Share]:
    """Return the cost of each module, names cut to so many parts: 2 gives groups, 4 blocks, 5 the parts of blocks."""
    shares: dict[str, Share] = {}
    for item in found:
        name = ".".join(item.module.split(".")[:depth])
        shares[name] = shares.get(name, Share()) + item
    return shares


def published_extra(found: Iterable[Item]) -> dict[str, float]:
    """Return what the published count adds to the multiply-accumulates of `Item.macs`, by its rule."""
    extra = dict.fromkeys(
        (
            "9 MACs instead of 4.5 for each state and step of the scan",
            "1 MAC for D · u of the scan",
            "5 MACs for each value of a layer norm",
            "the choice of a prompt as a product with a one-hot matrix",
        ),
        0.0,
    )
    recurrence, skip, norms, choice = extra
    for item in found:
        if item.step == "scan":
            extra[recurrence] += item.macs
            extra[skip] += item.published - 2 * item.macs
        elif item.step == "choice":
            extra[choice] += item.published
        else:
            extra[norms] += item.published - item.macs
    return extra
