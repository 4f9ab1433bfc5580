"""What is told of a file: an estimate before it is restored, and the result after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Restored:
    """What became of one file."""

    source: Path
    target: Path
    size: tuple[int, int]
    """Height and width of the input."""
    scale: int
    seconds: float
    notes: tuple[str, ...]
    """What a user should know: a conversion, or a smaller tile than asked for."""


@dataclass(frozen=True)
class Estimate:
    """What the restoration of a file will take, as it begins."""

    size: tuple[int, int]
    """Height and width of the input's pages."""
    pages: int
    tiles: int
    """Of all pages."""
    tile: tuple[int, int]
    """Height and width of the largest."""
    memory: int
    """Bytes on the device; on a CPU all that the process will hold: network, tile, rows in work, image."""
    free: int | None
    """Bytes there are for that; None where it cannot be measured."""
    seconds: float | None
    """None for an image so small that measuring would take as long."""
