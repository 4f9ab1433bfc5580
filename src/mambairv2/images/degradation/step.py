"""What the steps of a chain have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""An image (H, W, C) in float32, around [0, 1]."""
Range = tuple[float, float]
"""The smallest and the largest value; they may be equal."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One degradation of a chain. Its values are drawn from a generator each time it is applied."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # for recipes, which refuse unknown keys

    mixes: ClassVar[bool] = False
    """Whether pixels are computed from their neighbours, so that a patch needs a margin."""

    probability: float = 1.0
    """Share of the images that the step is applied to."""

    def __post_init__(self) -> None:
        """Raise ValueError for a probability that is none."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, got {self.probability:g}")

    def apply(self, image: Floats, generator: np.random.Generator) -> Floats:
        """Return the degraded image; the given one is not changed."""
        raise NotImplementedError


def check_range(name: str, given: Range, low: float, high: float = float("inf")) -> None:
    """Raise ValueError unless low <= given[0] <= given[1] <= high."""
    if not low <= given[0] <= given[1] <= high:
        limits = f"from {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} is a range, smallest first, {limits}; got {list(given)}")


def check_choices(name: str, given: Sequence[str]) -> None:
    """Raise ValueError for an empty list of choices."""
    if not given:
        raise ValueError(f"{name} needs at least one entry")


def pick(choices: Sequence[str], generator: np.random.Generator) -> str:
    """Draw one of several, each equally often; nothing is drawn where there is only one."""
    return choices[0] if len(choices) == 1 else choices[int(generator.integers(len(choices)))]


def drawn(given: Range, generator: np.random.Generator) -> float:
    """Draw evenly from a range."""
    return float(generator.uniform(*given))
