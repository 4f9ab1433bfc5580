"""Where tokens lie: image sizes, windows and the padding, as whole numbers that the graph computes when it runs.

Shape legend: B batch, H W padded height and width, L = H·W tokens, M window side, E channels.
"""

from __future__ import annotations

import numpy as np

from mambairv2.export.graph import Graph, Value


class Layout:
    """The sizes of one run, and the orders in which its tokens are taken.

    image: (B, C, h, w). Tokens are rows of a matrix (B·L, E), row-major over the padded image.
    """

    def __init__(self, graph: Graph, image: Value, window: int) -> None:
        self._g, self.window = graph, window
        self.batch, self.height, self.width = (graph.op("Shape", image, start=i, end=i + 1) for i in (0, 2, 3))
        self.rows, self.columns = self._padded(self.height), self._padded(self.width)
        self.length = graph.op("Mul", self.rows, self.columns)
        self._orders: dict[int, tuple[Value, Value]] = {}
        self._regions: dict[int, Value] = {}
        first = graph.op("Mul", graph.count(self.batch), graph.op("Squeeze", self.length))
        self.first = graph.reshape(first, -1, 1)
        """(B, 1): the first token of each image."""

    def _padded(self, size: Value) -> Value:
        """Return a side rounded up to a multiple of the window."""
        g, window = self._g, self._g.whole(self.window)
        units = g.op("Div", g.op("Add", size, g.whole(self.window - 1)), window)
        return g.op("Mul", units, window)

    def mirror_pad(self, image: Value) -> Value:
        """Pad below and to the right by mirroring with the edge row repeated: (B, C, h, w) → (B, C, H, W)."""
        g = self._g
        for axis, size, padded in ((2, self.height, self.rows), (3, self.width, self.columns)):
            twice = g.op("Add", size, size)
            i = g.op("Mod", g.count(padded), twice)
            back = g.op("Sub", g.op("Sub", twice, g.whole(1)), i)
            image = g.op("Gather", image, g.op("Min", i, back), axis=axis)
        return image

    def to_image(self, tokens: Value, channels: int) -> Value:
        """(B·L, E) → (B, E, H, W)."""
        g = self._g
        image = g.reshape(tokens, self.batch, self.rows, self.columns, channels)
        return g.op("Transpose", image, perm=[0, 3, 1, 2])

    def to_tokens(self, image: Value, channels: int) -> Value:
        """(B, E, H, W) → (B·L, E)."""
        g = self._g
        return g.reshape(g.op("Transpose", image, perm=[0, 2, 3, 1]), -1, channels)

    def windows(self, shift: int) -> tuple[Value, Value]:
        """Return the tokens window by window, (B·L,), and where each token is in that order, (B·L,).

        shift: pixels by which the windows are moved down and to the right.
        """
        if shift not in self._orders:
            g, window = self._g, self.window
            y, x = g.count(self.rows), g.count(self.columns)
            moved = [self._around(i, size, shift) for i, size in ((y, self.rows), (x, self.columns))]
            token = self._grid(g.op("Mul", moved[0], self.columns), moved[1])
            order = self._by_window(token)
            (row, v), (column, u) = (
                self._divided(self._around(i, size, -shift)) for i, size in ((y, self.rows), (x, self.columns))
            )
            area, side = g.whole(window**2), g.whole(window)
            down = g.op("Add", g.op("Mul", row, g.op("Mul", self.columns, side)), g.op("Mul", v, side))
            across = g.op("Add", g.op("Mul", column, area), u)
            self._orders[shift] = self._of_batch(order), self._of_batch(self._grid(down, across))
        return self._orders[shift]

    def regions(self, shift: int) -> Value:
        """Return which of four regions each position of the shifted windows is in, as one-hot rows: (L/M², M², 4).

        Positions of one window that are in different regions were not neighbours in the image.
        """
        if shift not in self._regions:
            g = self._g
            sides = []
            for size, factor in ((self.rows, 2), (self.columns, 1)):
                last = g.op("GreaterOrEqual", g.count(size), g.op("Sub", size, g.whole(shift)))
                sides.append(g.op("Mul", g.op("Cast", last, to=7), g.whole(factor)))
            region = g.reshape(self._by_window(self._grid(*sides)), -1, self.window**2, 1)
            same = g.op("Equal", region, g.whole(0, 1, 2, 3))
            self._regions[shift] = g.op("Cast", same, to=1)
        return self._regions[shift]

    def _around(self, i: Value, size: Value, shift: int) -> Value:
        """Return (i + shift) mod size."""
        return self._g.op("Mod", self._g.op("Add", i, self._g.op("Add", size, self._g.whole(shift))), size)

    def _divided(self, i: Value) -> tuple[Value, Value]:
        """Return i divided by the window's side, and the remainder."""
        side = self._g.whole(self.window)
        return self._g.op("Div", i, side), self._g.op("Mod", i, side)

    def _grid(self, down: Value, across: Value) -> Value:
        """Return the sums of (H,) and (W,): (H, W)."""
        return self._g.op("Add", self._g.reshape(down, -1, 1), across)

    def _by_window(self, grid: Value) -> Value:
        """(H, W) → (L,), window by window."""
        g, side = self._g, self.window
        rows, columns = (g.op("Div", size, g.whole(side)) for size in (self.rows, self.columns))
        windows = g.op("Transpose", g.reshape(grid, rows, side, columns, side), perm=[0, 2, 1, 3])
        return g.reshape(windows, -1)

    def _of_batch(self, order: Value) -> Value:
        """Return an order of one image's tokens as one of the batch's: (H, W) or (L,) → (B·L,)."""
        g = self._g
        return g.reshape(g.op("Add", g.reshape(order, 1, -1), self.first), -1)


def pieces(window: int, longest: int = 128) -> int:
    """Return the largest number up to `longest` that divides the tokens of every padded image."""
    return int(max(n for n in range(1, longest + 1) if window**2 % n == 0))


def relative_index(window: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the row of the bias table for each pair of positions in a window: (M², M²) int64."""
    y, x = np.divmod(np.arange(window**2), window)
    down, across = (i[:, None] - i[None] + window - 1 for i in (y, x))
    return down * (2 * window - 1) + across
