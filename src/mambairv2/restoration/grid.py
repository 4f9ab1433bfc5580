"""Where the tiles of an image lie, and how far the network sees beyond its edges. Needs no torch.

Tiles start at multiples of the attention window, so that windows lie as they do in the whole image. So does the margin:
windows lie as they do without one.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_MARGIN = 8
"""Input pixels of a margin at least: what zero padding does wrong reaches that far."""


@dataclass(frozen=True)
class Grid:
    """The positions of tiles. Raises ValueError for values that make no grid."""

    size: tuple[int, int]
    """Height and width of the input."""
    scale: int
    tile: int | None
    """Largest side of a tile in input pixels, a multiple of `window`; None takes the image whole."""
    overlap: int = 16
    """Input pixels that neighbours share at least, a multiple of `window`."""
    window: int = 16
    margin: bool = False
    """Whether the network sees a margin beyond the edges of the image. It comes on top of `tile`."""

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.size) < 1:
            raise ValueError(f"an image has at least 1x1 pixels, got {self.size[1]}x{self.size[0]}")
        if self.overlap < 0 or self.overlap % self.window:
            raise ValueError(f"overlap must be a multiple of {self.window}, got {self.overlap}")
        if self.tile is not None and (self.tile % self.window or self.tile <= self.overlap):
            rule = f"a multiple of {self.window} above the overlap of {self.overlap}"
            raise ValueError(f"tile must be {rule}, got {self.tile}")

    @property
    def rows(self) -> list[slice]:
        """Row ranges of the tiles, from top to bottom."""
        return spans(self.size[0], self.tile, self.overlap, self.window)

    @property
    def columns(self) -> list[slice]:
        """Column ranges of the tiles, from left to right."""
        return spans(self.size[1], self.tile, self.overlap, self.window)

    @property
    def seen_rows(self) -> list[slice]:
        """Row ranges that the network sees; with a margin they begin below 0 and end below the image."""
        return [self._seen(span, self.size[0]) for span in self.rows]

    @property
    def seen_columns(self) -> list[slice]:
        """Column ranges that the network sees; with a margin they begin below 0 and end beyond the image."""
        return [self._seen(span, self.size[1]) for span in self.columns]

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest tile: the first."""
        row, column = self.rows[0], self.columns[0]
        return row.stop, column.stop

    @property
    def largest_seen(self) -> tuple[int, int]:
        """Height and width of the largest tile with its margin."""
        height, width = (max(span.stop - span.start for span in spans) for spans in (self.seen_rows, self.seen_columns))
        return height, width

    def _seen(self, span: slice, size: int) -> slice:
        """Add the margin: whole windows before the image, and after it what completes a window."""
        if not self.margin:
            return span
        before = -(-LEAST_MARGIN // self.window) * self.window
        start = span.start - before if span.start == 0 else span.start
        if span.stop < size:
            return slice(start, span.stop)
        return slice(start, start + -(-(size - start + LEAST_MARGIN) // self.window) * self.window)


def spans(size: int, tile: int | None, overlap: int, window: int) -> list[slice]:
    """Cut `size` pixels into the fewest ranges of at most `tile`, neighbours sharing at least `overlap`.

    Every range starts at a multiple of `window`; all are as short and as even as that allows.
    """
    if tile is None or size <= tile:
        return [slice(0, size)]
    units, tile, overlap = -(-size // window), tile // window, overlap // window
    count = -(-(units - overlap) // (tile - overlap))
    length = -(-(units + (count - 1) * overlap) // count)
    starts = [k * (units - length) // (count - 1) for k in range(count)]
    return [slice(start * window, min((start + length) * window, size)) for start in starts]
