"""What is told of a file: an estimate before it is restored, and the result after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Restored:
    """The result of one file."""

    source: Path
    target: Path
    size: tuple[int, int]
    """Height and width of the input."""
    scale: int
    seconds: float
    notes: tuple[str, ...]
    """Notes for the user: a conversion, or tiles that are smaller for lack of memory."""


@dataclass(frozen=True)
class Estimate:
    """What the restoration of a file is expected to take."""

    size: tuple[int, int]
    """Height and width of the input's pages."""
    pages: int
    tiles: int
    """Number of tiles, of all pages."""
    tile: tuple[int, int]
    """Height and width of the largest tile, without the margin."""
    memory: int
    """Bytes on the device; on a CPU, all that the process will hold: network, tile, rows in work, image."""
    free: int | None
    """Bytes that are free for it; None where that cannot be measured."""
    seconds: float | None
    """None for a small image, where measuring would take as long as the restoration."""
