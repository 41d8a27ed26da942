"""A call that is being rewritten: what it was given, by name, and the calls that take its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import fx

from igc.program.nodes import call_like, copy_node, layer_of, mapped
from igc.program.schema import bind, operation
from igc.program.shapes import Value

aten = torch.ops.aten
TO_THE_END = 2**63 - 1  # the end of a slice that has none


@dataclass(frozen=True)
class Rewriting:
    """One call of a program, and the graph of the new program, in which something takes its place.

    The call and its arguments are of the program before, and are only read. `env` holds what
    stands for its nodes in the new graph: a node, a number for a size that is known, a list for
    several outputs. Operands of new calls may be nodes of either graph; shapes are asked of those
    before: `facts` has them in the example, `points` at several settings of the dynamic sizes.
    """

    graph: fx.Graph
    node: fx.Node
    env: Mapping[fx.Node, Any]
    facts: Mapping[fx.Node, Value]
    declined: list[str] = field(default_factory=list)
    points: Sequence[Mapping[fx.Node, Value]] = ()

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments of the call by the names of its schema, defaults filled in."""
        return bind(self.node)

    def __getitem__(self, name: str) -> Any:
        """The argument of that name."""
        return self.arguments[name]

    def keywords(self, *names: str) -> dict[str, Any]:
        """Those of these arguments that the call was given by keyword."""
        return {k: v for k, v in self.node.kwargs.items() if k in names}

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A new call, of the layer of the one that is rewritten."""
        args, kwargs = self.now((args, kwargs))
        return call_like(self.graph, self.node, target, *args, **kwargs)

    def now(self, value: Any) -> Any:
        """What stands for a node, or for those in a list of arguments; new nodes are themselves."""
        return mapped(value, lambda n: self.env[n] if n.graph is self.node.graph else n)

    def kept(self, why: str) -> fx.Node:
        """The call as it was; `declined` then says that it is, and why."""
        what = f"layer '{layer_of(self.node)}': {operation(self.node)}"
        self.declined.append(f"{what} is kept: {why}")
        return self.left()

    def left(self) -> fx.Node:
        """The call as it was, for a pass that knows which axes have one size only."""
        return copy_node(self.graph, self.node, self.env.__getitem__)

    def dims(self, x: fx.Node) -> tuple[int, ...]:
        """The shape of an operand, or of the call's own result, at the example's sizes."""
        return self.facts[x].dims

    def rank(self, x: fx.Node) -> int:
        """The number of its axes."""
        return len(self.dims(x))

    def dtype(self, x: fx.Node) -> torch.dtype | None:
        """Its type."""
        return self.facts[x].dtype

    def axis(self, x: fx.Node, axis: int) -> int:
        """`axis` of it counted from the front."""
        return axis % max(self.rank(x), 1)

    def moves(self, x: fx.Node, axis: int) -> bool:
        """Whether the size of an axis hangs on those of the inputs."""
        return len({facts[x].dims[axis] for facts in self.points}) > 1

    def size(self, x: fx.Node, axis: int) -> fx.Node:
        """A new call for the size of one axis, whatever the input's."""
        return self(aten.sym_size.int, x, axis)

    def sizes(self, x: fx.Node) -> list[fx.Node]:
        """The same for every axis."""
        return [self.size(x, axis) for axis in range(self.rank(x))]

    def slice(self, x: fx.Node, axis: int, start: fx.Node | int, end: fx.Node | int) -> fx.Node:
        """A new call for the entries from `start` to `end` of one axis."""
        return self(aten.slice.Tensor, x, axis, start, end, 1)


Rewrite = Callable[[Rewriting], Any]
