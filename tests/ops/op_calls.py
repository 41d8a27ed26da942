"""A call of one op over made-up operands, as a program that is this op alone.

`T((2, 6, 5))` is an input tensor of that shape, `C((4, 6))` a constant one, `S(0, 2)` the size of
axis 2 of input 0 (a number that depends on the input where that axis is dynamic).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.analysis.form import Forms
from igc.analysis.forms import forms
from igc.ops import Facts, relation
from igc.ops.relations import Opaque
from igc.program import InputSpec, Program
from igc.program.nodes import call_of

aten = torch.ops.aten


@dataclass(frozen=True)
class T:
    """An input tensor; inputs of the same `name` are one tensor read several times."""

    shape: tuple[int, ...]
    kind: str = "float"
    name: str = ""


@dataclass(frozen=True)
class C:
    """A constant tensor, or the given numbers."""

    shape: tuple[int, ...]
    kind: str = "float"
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class S:
    """The size of an axis of an input."""

    operand: int
    axis: int


@dataclass(frozen=True)
class Call:
    """The arguments of an op. `note` says which limit of its rule they touch, if any.

    `pick` is the number of the output that is taken, of an op that has several.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    pick: int | None = None

    @property
    def inputs(self) -> list[T]:
        """The input tensors, each once."""
        found: dict[Any, T] = {}
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)), is_leaf=_is_operand)
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, T):
                found.setdefault(leaf.name or i, leaf)
        return list(found.values())


@dataclass(frozen=True)
class Known:
    """Channels of an input that are known: 'along axis, where the mask is true, it is `values`'."""

    axis: int
    mask: tuple[bool, ...]
    values: tuple[float, ...]


def _is_operand(value: Any) -> bool:
    return isinstance(value, (T, C, S))


def draw(spec: T | C, generator: torch.Generator, spread: float = 1.0) -> Tensor:
    """Random values of the kind the operand asks for, in float64."""
    values = getattr(spec, "values", None)
    if spec.kind == "index":
        return torch.tensor(values, dtype=torch.int64).reshape(spec.shape)
    if values is not None:
        kind = torch.bool if spec.kind == "bool" else torch.float64
        return torch.tensor(values, dtype=kind).expand(spec.shape).clone()
    x = torch.randn(spec.shape, generator=generator, dtype=torch.float64) * spread
    other = torch.randn(spec.shape, generator=generator, dtype=torch.float64)
    return {
        "float": lambda: x,
        "positive": lambda: x.abs() + 0.5,
        "above": lambda: x.abs() + 1.5,
        "unit": lambda: torch.sigmoid(x) * 0.9 + 0.05,
        "digits": lambda: (x * 2).round().clamp(-3, 3),
        "bool": lambda: x > 0,
        "ids": lambda: (x.abs() * 2).long().clamp(max=2),
        "mask": lambda: (x > 0).double(),
        "sparse": lambda: torch.where(other > 0.3, 0.0, x),
    }[spec.kind]()


@dataclass(frozen=True)
class Setting:
    """A call as a program: which channels of the output are kept, which axes are dynamic.

    `keep` holds one list of kept channels per output axis, `None` for all; `dynamic` the positions
    of axes (counted from the left) whose size the inputs choose; `known` the known channels by
    input.
    """

    op: Any
    call: Call
    keep: tuple[tuple[int, ...] | None, ...] = ()
    dynamic: frozenset[int] = frozenset()
    known: Mapping[int, Known] = field(default_factory=dict)
    seed: int = 7

    def inputs(
        self, seed: int | None = None, sizes: Mapping[str, int] | None = None
    ) -> list[Tensor]:
        """Input values; the same for the same seed."""
        seed = self.seed if seed is None else seed
        generator = torch.Generator().manual_seed(1000 + seed)
        spread = (1.0, 3.0, 10.0)[seed % 3]
        return [draw(T(self._sized(t, sizes), t.kind), generator, spread) for t in self.call.inputs]

    def _sized(self, spec: T, sizes: Mapping[str, int] | None) -> tuple[int, ...]:
        dims = self.dims(spec)
        return tuple(
            n if sizes is None or isinstance(d, int) else sizes[d]
            for n, d in zip(spec.shape, dims, strict=True)
        )

    def dims(self, spec: T) -> tuple[int | str, ...]:
        """The shape with a name for each dynamic axis: equal sizes at one position are one size."""
        return tuple(
            f"s{a}_{n}" if a in self.dynamic and n > 1 else n for a, n in enumerate(spec.shape)
        )

    @property
    def sizes(self) -> dict[str, int]:
        """The dynamic sizes and what they are here."""
        return {
            d: n
            for t in self.call.inputs
            for d, n in zip(self.dims(t), t.shape, strict=True)
            if isinstance(d, str)
        }


def program_of(setting: Setting) -> Program:
    """The program: inputs, known channels written into them, the op, the cuts."""
    generator = torch.Generator().manual_seed(setting.seed)
    graph = fx.Graph()
    specs: list[InputSpec] = []
    constants: dict[str, Tensor] = {}
    operands: list[fx.Node] = []
    raw: list[fx.Node] = []
    for i, t in enumerate(setting.call.inputs):
        dtype = {"bool": torch.bool, "ids": torch.int64}.get(t.kind, torch.float64)
        specs.append(InputSpec(f"x{i}", setting.dims(t), dtype))
        raw.append(graph.placeholder(f"x{i}"))
    for i, t in enumerate(setting.call.inputs):
        known = setting.known.get(i)
        operands.append(
            raw[i] if known is None else _written(graph, raw[i], i, known, t, constants)
        )
    names = {(t.name or i): i for i, t in enumerate(setting.call.inputs)}
    order = iter([i for i, t in enumerate(setting.call.inputs) if not t.name])

    def operand(value: Any) -> Any:
        if isinstance(value, S):
            return graph.call_function(aten.sym_size.int, (raw[value.operand], value.axis))
        if isinstance(value, C):
            key = f"c{len(constants)}"
            constants[key] = draw(value, generator)
            return graph.create_node("get_attr", key, name=key)
        return operands[names[value.name] if value.name else next(order)]

    args, kwargs = pytree.tree_map(
        lambda v: operand(v) if _is_operand(v) else v,
        (setting.call.args, dict(setting.call.kwargs)),
        is_leaf=_is_operand,
    )
    node = graph.call_function(setting.op, tuple(args), kwargs)
    if setting.call.pick is not None:
        node = graph.call_function(operator.getitem, (node, setting.call.pick))
    for axis, channels in enumerate(setting.keep):
        if channels is not None:
            key = f"keep{axis}"
            constants[key] = torch.tensor(channels)
            index = graph.create_node("get_attr", key, name=key)
            node = graph.call_function(aten.index_select.default, (node, axis, index))
    graph.output([node])
    return Program(graph, constants, tuple(specs), ("output",), pytree.tree_structure(0),
                   setting.sizes, torch.float64)  # fmt: skip


def _written(
    graph: fx.Graph, x: fx.Node, i: int, known: Known, spec: T, constants: dict[str, Tensor]
) -> fx.Node:
    shape = [1] * len(spec.shape)
    shape[known.axis] = len(known.mask)
    parts = []
    for name, value in (
        (f"mask{i}", torch.tensor(known.mask)),
        (f"value{i}", torch.tensor(known.values, dtype=torch.float64)),
    ):
        constants[name] = value.reshape(shape)
        parts.append(graph.create_node("get_attr", name, name=name))
    return graph.call_function(aten.where.self, (parts[0], parts[1], x))


def op_node(program: Program, op: Any) -> fx.Node:
    """The node of the op under test: the last call that is not a cut."""
    calls = [n for n in program.graph.nodes if n.op == "call_function"]
    while len(calls) > 1 and str(calls[-1].args[-1]).startswith("keep"):
        calls.pop()
    assert call_of(calls[-1]).target is op
    return calls[-1]


def forms_of(program: Program) -> Forms:
    """The forward analysis of a program."""
    facts = Facts.of(program)
    relations = {
        n: relation(n, facts) if n.op == "call_function" else Opaque()
        for n in program.graph.nodes
        if n.op != "output" and facts.at[n].shape is not None
    }
    return forms(facts, relations)


def box(masks: Sequence[NDArray[np.bool_]], shape: Sequence[int]) -> Tensor:
    """The elements that lie in the masked channels of every axis."""
    result = torch.ones(tuple(shape), dtype=torch.bool)
    for axis, mask in enumerate(masks):
        line = [1] * len(shape)
        line[axis] = -1
        result &= torch.from_numpy(np.asarray(mask)).reshape(line)
    return result
