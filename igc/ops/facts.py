"""What a rule may ask about a node's operands: shapes, dynamic axes, constant values."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, fx

from igc.ops.relations import Follow, Relation
from igc.program import Program
from igc.program.dtypes import cast_to, retyped
from igc.program.nodes import mapped
from igc.program.schema import argument
from igc.program.shapes import Value, at_points

LARGEST = 1 << 24  # elements of a call over constants that is evaluated


@dataclass(frozen=True)
class Facts:
    """Shapes of every value at several settings of the dynamic sizes; the program's constants.

    `at` are those of the example, `points` those of every setting.
    """

    program: Program
    at: dict[fx.Node, Value]
    points: tuple[dict[fx.Node, Value], ...]
    _dynamic: dict[fx.Node, tuple[bool, ...]] = field(default_factory=dict)
    _values: dict[fx.Node, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(program: Program) -> Facts:
        """The facts of a program: some runs on meta tensors."""
        points = tuple(facts for _, facts in at_points(program))
        facts = Facts(program, points[0], points)
        facts._of_calls()
        return facts

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

    def usual_axis(self, node: fx.Node) -> int | None:
        """The axis where channels usually lie, else the first one of a fixed size, if any is."""
        rank, dynamic = len(self.shape(node)), self.dynamic(node)
        usual = 1 if rank > 3 else rank - 1
        return next((a for a in (usual, *range(rank)) if a >= 0 and not dynamic[a]), None)

    def sizes(self, node: fx.Node) -> tuple[tuple[int, ...], ...]:
        """For each axis its size at every setting: two axes are of one size if these are equal."""
        return tuple(zip(*(facts[node].dims for facts in self.points), strict=True))

    def constant(self, node: object) -> Tensor | None:
        """The tensor of a constant node, `None` for anything else.

        That of a call over constants, which folding left as it was, is computed in float64.
        """
        if not isinstance(node, fx.Node):
            return None
        if node.op == "get_attr":
            return self.program.constants[str(node.target)]
        return self._values.get(node)

    def _of_calls(self) -> None:
        """Evaluates the calls over constants."""
        for node in self.program.graph.nodes:
            reads = node.all_input_nodes
            if node.op != "call_function" or not reads or not self.is_tensor(node):
                continue
            if any(n.op != "get_attr" and n not in self._values for n in reads):
                continue
            if math.prod(self.shape(node)) > LARGEST or _draws(node):
                continue
            args, kwargs = mapped((node.args, node.kwargs), self._in_double)
            args, kwargs = retyped((args, kwargs), torch.float64)
            with torch.no_grad():
                self._values[node] = cast("Callable[..., Tensor]", node.target)(*args, **kwargs)

    def _in_double(self, node: fx.Node) -> Tensor:
        value = self.constant(node)
        assert value is not None
        return cast_to(value, torch.float64)

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


def _draws(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


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
