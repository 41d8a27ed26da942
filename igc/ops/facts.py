"""What a rule may ask about a node's operands: shapes, dynamic axes, constant values."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, fx

from igc.ops.relations import Follow, Relation
from igc.program import Program
from igc.program.nodes import mapped
from igc.program.schema import argument
from igc.program.shapes import Value, at_points


@dataclass(frozen=True)
class Facts:
    """Shapes of every value at several settings of the dynamic sizes; the program's constants.

    `at` are those of the example, `points` those of every setting.
    """

    program: Program
    at: dict[fx.Node, Value]
    points: tuple[dict[fx.Node, Value], ...]
    _dynamic: dict[fx.Node, tuple[bool, ...]] = field(default_factory=dict)

    @staticmethod
    def of(program: Program) -> Facts:
        """The facts of a program: some runs on meta tensors."""
        points = tuple(facts for _, facts in at_points(program))
        return Facts(program, points[0], points)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape at the example's sizes."""
        return self.at[node].dims

    def is_tensor(self, node: object) -> bool:
        """Whether the node's value is one tensor."""
        return isinstance(node, fx.Node) and self.at[node].shape is not None

    def dynamic(self, node: fx.Node) -> tuple[bool, ...]:
        """For each axis, whether its size depends on the inputs' sizes."""
        known = self._dynamic.get(node)
        if known is None:
            known = self._dynamic[node] = tuple(len(set(s)) > 1 for s in self.sizes(node))
        return known

    def sizes(self, node: fx.Node) -> tuple[tuple[int, ...], ...]:
        """For each axis its size at every setting: two axes are of one size if these are equal."""
        return tuple(zip(*(facts[node].dims for facts in self.points), strict=True))

    def constant(self, node: object) -> Tensor | None:
        """The tensor of a constant node, `None` for anything else."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.program.constants[str(node.target)]
        return None

    def follow(self, node: fx.Node, out: tuple[int, ...]) -> Follow:
        """The operand aligned with an output shape as broadcasting does."""
        shape = self.shape(node)
        offset = len(out) - len(shape)
        return Follow(
            node,
            tuple(None if n == 1 and out[i + offset] != 1 else i + offset
                  for i, n in enumerate(shape)),
        )  # fmt: skip

    def batch(self, operand: fx.Node, result: fx.Node) -> tuple[int | None, ...]:
        """The axes of a matrix operand before its last two, aligned with the result's."""
        out = self.shape(result)
        offset = len(out) - len(self.shape(operand))
        return tuple(
            None if n == 1 and out[i + offset] != 1 else i + offset
            for i, n in enumerate(self.shape(operand)[:-2])
        )


Rule = Callable[[fx.Node, Facts], Relation]


def kinds(rule: Rule) -> tuple[type, ...]:
    """The relations that a rule returns, as its signature says."""
    told = typing.get_type_hints(rule)["return"]
    return typing.get_args(told) or (told,)


def tensor_args(node: fx.Node, facts: Facts) -> list[fx.Node]:
    """The tensor operands of a node, in order of appearance, repeats kept."""
    found: list[fx.Node] = []

    def note(operand: fx.Node) -> fx.Node:
        found.append(operand)
        return operand

    mapped((node.args, node.kwargs), note)
    return [n for n in found if facts.is_tensor(n)]


def operand(node: fx.Node, name: str) -> fx.Node:
    """The tensor operand that the schema calls `name`, which the op always has."""
    found = argument(node, name)
    assert isinstance(found, fx.Node), f"{node}: {name}"
    return found
