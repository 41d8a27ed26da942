"""Calls that read a tensor's memory by steps (`as_strided`), told as gathers of its entries.

Steps mean the layout that a tensor has in the network as written; sliced, it has another. Told by
their places in the tensor, the same entries are read in any layout. Axes that are read whole stay
axes, so that channels can be followed through: windows over time leave the features alone.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from igc.capture.layout import (
    Sizes,
    divides,
    in_example,
    layer_of_export,
    owner,
    surely,
    surely_less,
)
from igc.errors import BadInput
from igc.program.schema import bind, op_name

aten = torch.ops.aten

READS = (aten.as_strided.default, aten.as_strided_copy.default)
WRITES = (aten.as_strided_scatter.default,)
NUMBERS = (aten.sym_stride.int, aten.sym_storage_offset.default)
CPU: Mapping[str, Any] = {"device": torch.device("cpu")}
BY_LAYOUT = frozenset({*READS, *WRITES, *NUMBERS})


def without_steps(source: fx.Graph) -> fx.Graph:
    """An exported graph in which nothing asks for memory; the same one where nothing did.

    Calls keep what `torch.export` notes of them. Raises `BadInput` for a call whose entries cannot
    be told: its operand is a part of a larger tensor that the network does not hold, or it writes
    an entry twice.
    """
    if not any(n.target in BY_LAYOUT for n in source.nodes):
        return source
    graph = fx.Graph()
    env: dict[fx.Node, Any] = {}
    sizes = Sizes(source, graph, env)
    for node in source.nodes:
        if node.target not in BY_LAYOUT:
            env[node] = graph.node_copy(node, env.__getitem__)
            continue
        before = set(graph.nodes)
        try:
            env[node] = (
                sizes(node.meta["val"])
                if node.target in NUMBERS
                else _Strided.of(node).written(graph, env, sizes)
            )
        except ValueError as error:
            raise BadInput(
                f"layer '{layer_of_export(node) or node.name}': {op_name(node)} reads memory by "
                f"its layout, and {error}; write it with reshape, unfold, slices or index_select"
            ) from None
        for new in set(graph.nodes) - before:
            new.meta = {k: v for k, v in node.meta.items() if k != "val"}
    return graph


@dataclass(frozen=True)
class _Strided:
    """One call: the value whose memory it reads, and which of the result's axes are whole there.

    `dims` are the sizes of the memory's axes from the outermost one, `axes` the sizes and steps of
    the result's. The first of `dims` are axes `front` of the result, the last ones axes `back`; all
    between is one line, of which `rest` picks entries, `unit` apart.
    """

    node: fx.Node
    memory: fx.Node
    order: tuple[int, ...]
    dims: tuple[Any, ...]
    axes: tuple[tuple[Any, Any], ...]
    offset: Any
    front: tuple[int, ...]
    rest: tuple[int, ...]
    back: tuple[int, ...]
    unit: Any

    @staticmethod
    def of(node: fx.Node) -> _Strided:
        """What a call does. Raises `ValueError` where that is not known."""
        operand = node.args[0]
        assert isinstance(operand, fx.Node)
        found = owner(operand)
        if found is None:
            raise ValueError("its operand is a part of a tensor that is not held")
        memory, order = found
        if node.target in WRITES and memory is not operand:
            raise ValueError("it writes into a part of a tensor")
        held = memory.meta["val"]
        given = bind(node)
        axes = tuple(zip(_values(given["size"]), _values(given["stride"]), strict=True))
        own = given["storage_offset"] is None
        offset = operand.meta["val"].storage_offset() if own else _value(given["storage_offset"])
        order = [a for a in order if not surely(held.shape[a] == 1)]
        dims = tuple(held.shape[a] for a in order)
        ones = [a for a in range(held.ndim) if a not in order]
        return _Strided(
            node, memory, (*order, *ones), dims, axes, offset, *_whole(dims, axes, offset)
        )

    def written(self, graph: fx.Graph, env: Mapping[fx.Node, Any], sizes: Sizes) -> fx.Node:
        """The calls in `graph` that take its place; the last one."""
        call = graph.call_function
        x, sorted_ = env[self.memory], tuple(sorted(self.order)) == self.order
        moved = x if sorted_ else call(aten.permute.default, (x, list(self.order)))
        shape = [sizes(d) for d in self.dims]
        picks = bool(self.rest or len(self.dims) > len(self.front) + len(self.back)
                     or not surely(self.offset == 0))  # fmt: skip
        first, last = shape[: len(self.front)], shape[len(shape) - len(self.back) :]
        line = call(aten.reshape.default, (moved, [*first, *([-1] if picks else []), *last]))
        kept = [*self.front, *self.rest, *self.back]
        size = [sizes(self.axes[a][0]) for a in kept]
        index = self._places(graph, sizes) if picks else None
        if self.node.target in READS:
            if index is not None:
                line = call(aten.index_select.default, (line, len(self.front), index))
            line = call(aten.reshape.default, (line, size))
            return _permuted(graph, line, [kept.index(a) for a in range(len(kept))])
        self._check_apart()
        new = _permuted(graph, env[bind(self.node)["src"]], kept)
        new = call(aten.reshape.default, (new, [*first, *([-1] if picks else []), *last]))
        if index is not None:
            new = call(aten.index_copy.default, (line, len(self.front), index, new))
        held = self.memory.meta["val"].shape
        new = call(aten.reshape.default, (new, [sizes(held[a]) for a in self.order]))
        return _permuted(graph, new, [self.order.index(a) for a in range(len(self.order))])

    def _places(self, graph: fx.Graph, sizes: Sizes) -> fx.Node:
        """Where on the line the entries lie, one after the other."""
        call = graph.call_function
        total: Any = None
        for number, axis in enumerate(self.rest):
            size, step = self.axes[axis]
            places = call(aten.arange.default, (sizes(size),), dict(CPU))
            step = self._in_units(graph, step, sizes)
            if step != 1:
                places = call(aten.mul.Tensor, (places, step))
            for _ in self.rest[number + 1 :]:
                places = call(aten.unsqueeze.default, (places, -1))
            total = places if total is None else call(aten.add.Tensor, (total, places))
        offset = self._in_units(graph, self.offset, sizes)
        if total is None:
            total = call(aten.arange.default, (1,), dict(CPU))
        if offset != 0:
            total = call(aten.add.Tensor, (total, offset))
        return call(aten.reshape.default, (total, [-1]))

    def _in_units(self, graph: fx.Graph, step: Any, sizes: Sizes) -> Any:
        step, unit = sizes(step), sizes(self.unit)
        if isinstance(step, int) and isinstance(unit, int):
            return step // unit
        return step if unit == 1 else graph.call_function(operator.floordiv, (step, unit))

    def _check_apart(self) -> None:
        """Refuses writes that meet: which of them is the last is not said anywhere."""
        axes = [self.axes[a] for a in self.rest if not surely(self.axes[a][0] == 1)]
        reach: Any = 0
        for size, step in sorted(axes, key=lambda axis: in_example(axis[1])):
            if not surely_less(reach, step):
                raise ValueError(f"its steps of {step} write an entry twice")
            reach = reach + (size - 1) * step


def _whole(
    dims: Sequence[Any], axes: Sequence[tuple[Any, Any]], offset: Any
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any]:
    """Axes of the result that are whole axes of the memory: the outer, others, the inner; the unit.

    An outer axis is whole where what else is read stays within one step of it; an inner one where
    all other steps are multiples of its length.
    """
    front: list[int] = []
    back: list[int] = []
    rest = list(range(len(axes)))
    for number, size in enumerate(dims):
        step = prod(dims[number + 1 :])
        axis = next((a for a in rest if _is(axes[a], size, step)), None)
        if axis is None:
            break
        reach = offset + sum((axes[a][0] - 1) * axes[a][1] for a in rest if a != axis)
        if not surely_less(reach, step):
            break
        front.append(axis)
        rest.remove(axis)
    unit: Any = 1
    for size in reversed(dims[len(front) :]):
        axis = next((a for a in rest if _is(axes[a], size, unit)), None)
        others = [axes[a][1] for a in rest if a != axis]
        if axis is None or not all(divides(unit * size, s) for s in (*others, offset)):
            break
        back.insert(0, axis)
        rest.remove(axis)
        unit = unit * size
    return tuple(front), tuple(rest), tuple(back), unit


def _is(axis: tuple[Any, Any], size: Any, step: Any) -> bool:
    return surely(axis[0] == size) and surely(axis[1] == step)


def _values(given: Any) -> list[Any]:
    return [_value(v) for v in given]


def _value(given: Any) -> Any:
    return given.meta["val"] if isinstance(given, fx.Node) else given


def _permuted(graph: fx.Graph, value: fx.Node, order: list[int]) -> fx.Node:
    if order == sorted(order):
        return value
    return graph.call_function(aten.permute.default, (value, order))
