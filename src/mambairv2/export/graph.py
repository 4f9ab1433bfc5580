"""A small builder of ONNX graphs: each method adds nodes and returns the name of their result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

Value = str
"""A tensor of the graph, by its name."""
Dim = int | Value
"""A side of a tensor: known, or a tensor of shape (1,) that is computed when the network runs."""
Array = npt.NDArray[np.generic]

FLOAT, INT64, BOOL, FLOAT16 = 1, 7, 9, 10
"""Types of tensors, as ONNX numbers them."""


class Graph:
    """Nodes and constants of one graph, or of the body of a loop in it.

    A body may use what the graph around it has. Its constants are kept in the outermost graph, because OpenVINO takes
    no other tensors from outside into the body of a Scan.
    """

    def __init__(self, outer: Graph | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._root: Graph = self if outer is None else outer._root
        self._count = 0
        self._scopes: list[str] = []
        self.constants: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Begin the names of what is added with `name`."""
        self._root._scopes.append(name)
        try:
            yield
        finally:
            self._root._scopes.pop()

    def name(self, what: str) -> Value:
        """Return a new name."""
        self._root._count += 1
        return "/".join([*self._root._scopes, f"{what}_{self._root._count}"])

    def constant(self, values: npt.ArrayLike, name: str | None = None) -> Value:
        """Return a constant; equal ones are kept once."""
        array = np.array(values, order="C")
        key = str(array.dtype), array.shape, array.tobytes()
        if key not in self._root._known:
            self._root._known[key] = name or f"constant_{len(self._root.constants)}"
            self._root.constants[self._root._known[key]] = array
        return self._root._known[key]

    def op(self, kind: str, *inputs: Value, **attributes: object) -> Value:
        """Add an operator that has one result."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, results: int, *inputs: Value, **attributes: object) -> list[Value]:
        """Add an operator that has several results."""
        from onnx import helper

        names = [self.name(kind) for _ in range(results)]
        node = helper.make_node(kind, list(inputs), names, names[0])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return names

    def named_op(self, kind: str, result: Value, *inputs: Value) -> None:
        """Add an operator whose result has a name of its own."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [result], result))

    def whole(self, *numbers: int) -> Value:
        """Return whole numbers as a constant of shape (n,)."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def join(self, sides: Sequence[Dim]) -> Value:
        """Return the sides of a tensor as one tensor of shape (n,)."""
        if all(isinstance(side, int) for side in sides):
            return self.whole(*(side for side in sides if isinstance(side, int)))
        return self.op("Concat", *(self.whole(s) if isinstance(s, int) else s for s in sides), axis=0)

    def reshape(self, x: Value, *sides: Dim) -> Value:
        """View x in another shape; one side may be -1, as in torch."""
        return self.op("Reshape", x, self.join(sides))

    def count(self, length: Value) -> Value:
        """Return 0, 1, … as int64, `length` of them; length: shape (1,)."""
        return self.op("Range", self.constant(np.int64(0)), self.op("Squeeze", length), self.constant(np.int64(1)))

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Cut x along an axis."""
        return self.ops("Split", len(sizes), x, self.whole(*sizes), axis=axis)

    def body(self, name: str, inputs: Sequence[tuple[str, int]], build: Build, *, scalars: bool = False) -> object:
        """Return the body of a loop.

        inputs: name and ONNX type of each. scalars: whether they have no sides. build: adds nodes to the body's graph,
        given it and the inputs, and returns each result with its type.
        """
        from onnx import helper

        inner = Graph(self)
        with self.scope(name):
            given = [(self.name(what), kind) for what, kind in inputs]
            results = build(inner, [value for value, _ in given])
        before = [helper.make_tensor_value_info(value, kind, [] if scalars else None) for value, kind in given]
        after = [helper.make_tensor_value_info(value, kind, [] if kind == BOOL else None) for value, kind in results]
        return helper.make_graph(inner.nodes, name, before, after)


Build = Callable[[Graph, list[Value]], list[tuple[Value, int]]]
