"""Masks over several axes at once, told along the one axis that these are before or behind.

    m * a.view(b, 4, 8) + (1 - m) * c.view(b, 4, 8)         m of [4, 8]: heads, and inside them
    (m * y).transpose(1, 2).reshape(b, n, 32)               what a reshape merges just behind

A selection along two axes is no selection of channels of either. Where a reshape nearby splits one
axis into these, or merges them, the ops in between are moved to its other side: there the mask is a
vector, and the two reshapes meet and are none. Only ops that treat every element alone are moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, fx

from igc.ops import activation, combine, pointwise
from igc.ops.shape import regroup
from igc.program import Program
from igc.program.decisions import constant_nodes, constant_value
from igc.program.nodes import args_of, call_like, copy_node, mapped
from igc.program.rebuild import Env, rebuild
from igc.program.schema import operation
from igc.program.shapes import Value, other_sizes, shapes

aten = torch.ops.aten
ALONE = (set(activation.RULES) | set(pointwise.RULES) | set(combine.RULES)) - {
    "aten.prelu.default"
}  # its weight lies along an axis of its own
LAYOUT = (aten.permute.default, aten.reshape.default)
LARGEST = 1 << 20  # elements of a mask
Dims = tuple[tuple[int, ...], tuple[int, ...]]  # at two settings of the dynamic sizes


@dataclass(frozen=True)
class _Region:
    """Ops of one shape, and the layout to move them to: `order`, then `group` becomes one axis."""

    nodes: frozenset[fx.Node]
    order: tuple[int, ...]
    group: tuple[int, ...]  # places in `order`, next to each other


def with_merged_axes(program: Program) -> Program:
    """The program whose masks over several axes lie along one, where a reshape nearby makes it."""
    finder = _Finder(program)
    regions = list(finder.regions())
    return _Mover(program, finder, regions).run() if regions else program


class _Finder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.constant = constant_nodes(program)
        self.at: dict[fx.Node, Value] = {}
        self.other: dict[fx.Node, Value] = {}

    def regions(self) -> Iterator[_Region]:
        """The regions to move; no op is in two of them."""
        calls = [n for n in self.program.graph.nodes if self.is_alone(n)]
        calls = [n for n in calls if any(m in self.constant for m in n.all_input_nodes)]
        if not calls or aten.reshape.default not in {n.target for n in self.program.graph.nodes}:
            return
        self.at = shapes(self.program)
        self.other = shapes(self.program, other_sizes(self.program))
        seen: set[fx.Node] = set()
        for node in calls:
            if node in seen or not (axes := self._masked(node)):
                continue
            nodes = self._connected(node)
            seen |= nodes
            region = self._layout(nodes, node, axes)
            if region is not None and self._pays(region):
                yield region

    def is_alone(self, node: fx.Node) -> bool:
        """Whether the node is computed from the input, every element alone."""
        return node.op == "call_function" and node not in self.constant and operation(node) in ALONE

    def dims(self, node: fx.Node) -> Dims:
        """The shape at both settings."""
        return self.at[node].dims, self.other[node].dims

    def fixed(self, node: fx.Node, axis: int) -> bool:
        """Whether an axis has one size."""
        a, b = self.dims(node)
        return a[axis] == b[axis]

    def _masked(self, node: fx.Node) -> set[int]:
        """The axes along which a constant operand with zeros varies, if they are several."""
        rank, found = len(self.at[node].dims), set[int]()
        for operand in node.all_input_nodes:
            if operand not in self.constant or self.at[operand].shape is None:
                continue
            dims = self.at[operand].dims
            axes = {i + rank - len(dims) for i, n in enumerate(dims) if n > 1}
            if len(axes) > 1 and prod(dims) <= LARGEST and self._has_zeros(operand):
                found |= axes
        return found if all(self.fixed(node, a) for a in found) else set()

    def _has_zeros(self, node: fx.Node) -> bool:
        value: Tensor = constant_value(self.program, node)
        return value.dtype is torch.bool or bool((value == 0).any())

    def _connected(self, start: fx.Node) -> set[fx.Node]:
        """The ops around one that have its shape and treat every element alone."""
        found, stack = {start}, [start]
        while stack:
            node = stack.pop()
            for near in (*node.all_input_nodes, *node.users):
                same = near not in found and self.is_alone(near)
                if same and self.dims(near) == self.dims(start):
                    found.add(near)
                    stack.append(near)
        return found

    def _layout(self, nodes: set[fx.Node], like: fx.Node, axes: set[int]) -> _Region | None:
        """The layout in which a chain at an edge of the region has the axes as one."""
        rank = len(self.at[like].dims)
        for node in nodes:
            near = (*self._behind(node, nodes, rank), *self._before(node, nodes, rank))
            for order, group in near:
                if axes <= {order[i] for i in group}:
                    return _Region(frozenset(nodes), order, group)
        return None

    def _behind(
        self, node: fx.Node, nodes: set[fx.Node], rank: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Layouts that a reshape behind merges axes for."""
        for user in node.users:
            order, last = tuple(range(rank)), user
            if user in nodes:
                continue
            if user.target is aten.permute.default:
                order = _order(user, rank)
                lasts = list(user.users)
            else:
                lasts = [user]
            for last in lasts:
                if last.target is aten.reshape.default:
                    x = args_of(last)[0]
                    for into, out in self._groups(x, last):
                        if len(out) == 1 and len(into) > 1 and self._all_fixed(x, into):
                            yield order, into

    def _before(
        self, node: fx.Node, nodes: set[fx.Node], rank: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Layouts that a reshape before has split an axis of."""
        for operand in node.all_input_nodes:
            if operand in nodes or self.at[operand].shape is None:
                continue
            if self.dims(operand) != self.dims(node):
                continue
            order, first = tuple(range(rank)), operand
            if operand.target is aten.permute.default:
                taken = _order(operand, rank)
                order = tuple(taken.index(a) for a in range(rank))
                first = args_of(operand)[0]
            if first.target is aten.reshape.default:
                for into, out in self._groups(args_of(first)[0], first):
                    if len(into) == 1 and len(out) > 1 and self._all_fixed(first, out):
                        yield order, out

    def _groups(self, x: fx.Node, y: fx.Node) -> tuple[tuple[tuple[int, ...], ...], ...]:
        (a, b), (c, d) = self.dims(x), self.dims(y)
        found = regroup(a, c)
        return found if found is not None and found == regroup(b, d) else ()

    def _all_fixed(self, node: fx.Node, axes: tuple[int, ...]) -> bool:
        return all(self.fixed(node, a) for a in axes)

    def _pays(self, region: _Region) -> bool:
        """Whether at least half of the edges are layouts already, and operands broadcast well."""
        gone = total = 0
        merged = {region.order[i] for i in region.group}
        for node in region.nodes:
            rank = len(self.at[node].dims)
            for operand in node.all_input_nodes:
                if operand in region.nodes or self.at[operand].shape is None:
                    continue
                if operand in self.constant:
                    continue
                dims = self.at[operand].dims
                sizes = {dims[a - rank + len(dims)] for a in merged if a - rank + len(dims) >= 0}
                if dims != self.at[node].dims and sizes - {1}:
                    return False  # it is repeated along a part of what would be one axis
                total, gone = total + 1, gone + (operand.target in LAYOUT or sizes <= {1})
            for user in node.users:
                if user not in region.nodes and self.at[user].shape is not None:
                    total, gone = total + 1, gone + (user.target in LAYOUT)
        return 2 * gone >= total


class _Mover:
    def __init__(self, program: Program, finder: _Finder, regions: list[_Region]) -> None:
        self.program, self.finder = program, finder
        self.region = {n: r for r in regions for n in r.nodes}
        self.moved: dict[fx.Node, fx.Node] = {}  # in the new layout
        self.dims: dict[fx.Node, Dims] = {}  # of new nodes
        self.back: set[fx.Node] = set()  # new nodes that turn a moved value back

    def run(self) -> Program:
        """The program with the regions moved."""
        return rebuild(self.program, self._make)

    def _make(self, graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        if node in self.region:
            return self._move(graph, node, env)
        if node.op == "output":
            return None
        if node.target in LAYOUT and env[args_of(node)[0]] in self.back:
            x = args_of(node)[0]
            if node.target is aten.permute.default:
                order = _order(node, len(self.finder.at[x].dims))
                made = self._permuted(graph, node, env[x], order)
                self.back.add(made)
                self.dims[made] = self.finder.dims(node)
                return made
            sizes = mapped(args_of(node)[1], env.__getitem__)
            return self._reshaped(graph, node, env[x], list(sizes), self.finder.dims(node))
        made = copy_node(graph, node, env.__getitem__)
        if self.finder.at[node].shape is not None:
            self.dims[made] = self.finder.dims(node)
        return made

    def _move(self, graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node:
        region, dims = self.region[node], self.finder.dims(node)

        def look(operand: fx.Node) -> object:
            if operand in self.moved:
                return self.moved[operand]
            if self.finder.at[operand].shape is None:
                return env[operand]
            return self._into(graph, node, operand, env[operand], region)

        args, kwargs = mapped((node.args, dict(node.kwargs)), look)
        new = call_like(graph, node, node.target, *args, **kwargs)
        new._rename(node.name)
        self.moved[node] = new
        order, group = region.order, region.group
        ordered: Dims = tuple(tuple(d[a] for a in order) for d in dims)  # type: ignore[assignment]
        self.dims[new] = tuple(_merge(d, group) for d in ordered)  # type: ignore[assignment]
        sizes = self._sizes(graph, node, new, ordered, group)
        split = self._reshaped(graph, node, new, sizes, ordered)
        back = tuple(order.index(a) for a in range(len(order)))
        result = self._permuted(graph, node, split, back)
        self.dims[result] = dims
        self.back.add(result)
        return result

    def _sizes(
        self, graph: fx.Graph, node: fx.Node, x: fx.Node, wanted: Dims, group: tuple[int, ...]
    ) -> list[object]:
        """The sizes that split the merged axis of `x` again."""
        sizes: list[object] = []
        for axis, (a, b) in enumerate(zip(*wanted, strict=True)):
            at = axis - max(0, min(axis - group[0], len(group) - 1))
            sizes.append(a if a == b else call_like(graph, node, aten.sym_size.int, x, at))
        return sizes

    def _into(
        self, graph: fx.Graph, node: fx.Node, operand: fx.Node, x: fx.Node, region: _Region
    ) -> fx.Node:
        """An operand in the new layout; a constant is repeated along what is merged."""
        whole, (a, b) = self.finder.dims(node), self.finder.dims(operand)
        rank = len(whole[0])
        merged = {region.order[i] for i in region.group}
        missing = rank - len(a)
        if not a:
            return x
        if missing:
            a, b = (1,) * missing + a, (1,) * missing + b
            sizes: list[object] = [
                n if n == m else call_like(graph, node, aten.sym_size.int, x, i - missing)
                for i, (n, m) in enumerate(zip(a, b, strict=True))
            ]
            x = call_like(graph, node, aten.reshape.default, x, sizes)
        if any(a[i] > 1 for i in merged) and any(a[i] != whole[0][i] for i in merged):
            a = tuple(whole[0][i] if i in merged else n for i, n in enumerate(a))
            b = tuple(whole[1][i] if i in merged else n for i, n in enumerate(b))
            x = call_like(graph, node, aten.expand.default, x, list(a))
        x = self._permuted(graph, node, x, region.order)
        ordered = tuple(a[i] for i in region.order), tuple(b[i] for i in region.order)
        target = tuple(_merge(d, region.group) for d in ordered)
        sizes = []
        for axis, (n, m) in enumerate(zip(*target, strict=True)):
            at = axis + (len(region.group) - 1 if axis > region.group[0] else 0)
            sizes.append(n if n == m else call_like(graph, node, aten.sym_size.int, x, at))
        return self._reshaped(graph, node, x, sizes, target)  # type: ignore[arg-type]

    def _permuted(
        self, graph: fx.Graph, like: fx.Node, x: fx.Node, order: tuple[int, ...]
    ) -> fx.Node:
        """A permutation; two of them are one, or none."""
        if x.target is aten.permute.default:
            inner = _order(x, len(order))
            x, order = args_of(x)[0], tuple(inner[a] for a in order)
        if order == tuple(range(len(order))):
            return x
        return call_like(graph, like, aten.permute.default, x, list(order))

    def _reshaped(
        self, graph: fx.Graph, like: fx.Node, x: fx.Node, sizes: list[object], dims: Dims
    ) -> fx.Node:
        """A reshape; of two the last one counts, and one to the shape at hand is none."""
        while x.target is aten.reshape.default:
            x = args_of(x)[0]
        if self.dims.get(x) == dims:
            return x
        new = call_like(graph, like, aten.reshape.default, x, sizes)
        self.dims[new] = dims
        return new


def _order(node: fx.Node, rank: int) -> tuple[int, ...]:
    return tuple(int(a) % rank for a in args_of(node)[1])


def _merge(dims: tuple[int, ...], group: tuple[int, ...]) -> tuple[int, ...]:
    start, stop = group[0], group[-1] + 1
    return (*dims[:start], prod(dims[start:stop]), *dims[stop:])
