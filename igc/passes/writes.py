"""SpellOutWrites: entries written at constant places, as the concatenation and gather they are.

    x[:, [1, 3]] = y               becomes   cat([x, y], 1), then the channels 0 2 1 3
    x.index_fill(1, [0], 0.0)      becomes   cat([x, zeros], 1), then ...
    x.index_add(1, [0, 2], y)      becomes   x + (the channels of y there, zeros elsewhere)

Told like this every channel is traced to where it comes from: nothing that was overwritten is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from igc.ops import Facts
from igc.passes.builder import Builder
from igc.passes.places import Unknown, along, line, where_true
from igc.passes.record import Record
from igc.program import Program
from igc.program.rebuild import Env
from igc.program.schema import bind

aten = torch.ops.aten
Numbers = NDArray[np.int64]
MOST_REPEATS = 8  # sums of more gathers than these stay one scatter


@dataclass(frozen=True)
class SpellOutWrites:
    """Writes at constant places become concatenations, gathers and sums."""

    name: str = "spell out writes"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program without such writes; the same object where there were none."""
        if not any(n.target in WRITES for n in program.graph.nodes):
            return program
        facts, build = Facts.of(program), Builder(program)
        changed = False

        def make(node: fx.Node, env: Env) -> fx.Node | None:
            nonlocal changed
            if node.target not in WRITES:
                return None
            before = _last(build.graph)
            try:
                made = WRITES[node.target](_Write(node, bind(node), facts, build, env))
            except Unknown as why:
                record.declined(node, str(why))
                return None
            changed = True
            if made is _last(build.graph) is not before:
                made._rename(node.name)  # it is what was written, and is known by its name
            return made

        result = build.rebuild(make)
        return result if changed else program


def _last(graph: fx.Graph) -> fx.Node | None:
    return next(iter(reversed(graph.nodes)), None)


@dataclass(frozen=True)
class _Write:
    """A call that writes, its arguments by name, and the graph in which others take its place.

    Values that are written come as nodes of the new graph, with the shape that they have there.
    """

    node: fx.Node
    given: dict[str, Any]
    facts: Facts
    build: Builder
    env: Env

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return self.build.call(self.node.meta, target, *args, **kwargs)

    @property
    def x(self) -> fx.Node:
        found = self["self"]
        assert isinstance(found, fx.Node)
        return found

    def axis(self, given: int) -> int:
        """The axis that is written along; `Unknown` where the input chooses its size."""
        return along(self.x, given, self.facts)

    def width(self, axis: int) -> int:
        return self.facts.shape(self.x)[axis]

    def sizes(self, axis: int, width: int) -> list[Any]:
        """The sizes of x, with `width` along the axis."""
        dims, dynamic = self.facts.shape(self.x), self.facts.dynamic(self.x)
        return [
            width if a == axis else self._size(a) if dynamic[a] else dims[a]
            for a in range(len(dims))
        ]

    def _size(self, axis: int) -> fx.Node:
        """The size of a dynamic axis of x, read off an input: off x it would keep x alive."""
        size = self.facts.sizes(self.x)[axis]
        for given in self.facts.program.placeholders:
            if size in (sizes := self.facts.sizes(given)):
                return self.call(aten.sym_size.int, self.env[given], sizes.index(size))
        return self.call(aten.sym_size.int, self.env[self.x], axis)

    def filled(self, axis: int, value: Any) -> fx.Node:
        """One channel that holds a number, or the only entry of a tensor, everywhere."""
        sizes, dtype = self.sizes(axis, 1), self.facts.at[self.x].dtype
        if not isinstance(value, fx.Node):
            value = bool(value) if dtype == torch.bool else value
            cpu = torch.device("cpu")
            return self.call(aten.full.default, sizes, value, dtype=dtype, device=cpu)
        constant = self.facts.constant(value)
        if constant is not None and constant.numel() == 1 and not bool(constant.any()):
            return self.filled(axis, 0)
        return self.call(aten.expand.default, self.env[value], sizes)

    def fitted(self, axis: int, value: fx.Node, width: int, drops: bool) -> fx.Node:
        """What is written, broadcast to the shape of x with `width` channels along the axis."""
        new, have = self.env[value], self.facts.at[value].dims
        rank = len(self.facts.shape(self.x))
        if drops and len(have) > rank - 1 - axis:  # the axis that the place had is given back
            new = self.call(aten.unsqueeze.default, new, len(have) - (rank - 1 - axis))
            at = len(have) - (rank - 1 - axis)
            have = (*have[:at], 1, *have[at:])
        same = len(have) == rank and all(
            width == have[a] if a == axis else self._fits(value, a - (drops and a > axis), a)
            for a in range(rank)
        )
        return new if same else self.call(aten.expand.default, new, self.sizes(axis, width))

    def _fits(self, value: fx.Node, axis: int, of: int) -> bool:
        return self.facts.sizes(value)[axis] == self.facts.sizes(self.x)[of]

    def same_size(self, value: fx.Node, axis: int) -> None:
        """`Unknown` unless a tensor is as large as x along every other axis, whatever the input."""
        rank = len(self.facts.shape(self.x))
        dims = self.facts.shape(value)
        if len(dims) != rank or not all(self._fits(value, a, a) for a in range(rank) if a != axis):
            raise Unknown("it writes into a part of the other axes")

    def put(self, axis: int, at: Numbers, value: fx.Node, width: int) -> fx.Node:
        """x, with the channels of `value` (`width` of them, or one for all) at the places."""
        if len(np.unique(at)) != len(at):
            raise Unknown("its places repeat: which of the values stays is up to the runtime")
        size = self.width(axis)
        part, source = np.zeros(size, dtype=np.int64), np.arange(size)
        part[at], source[at] = 1, np.arange(len(at)) if width > 1 else 0
        parts = [(self.env[self.x], size), (value, width)]
        return self.build.gather(self.node.meta, axis, parts, part, source)

    def add(self, axis: int, at: Numbers, value: fx.Node, width: int, times: Any = 1) -> fx.Node:
        """x plus the channels of `value` at the places; what repeats is added one after another."""
        size = self.width(axis)
        total: fx.Node = self.env[self.x]
        rounds = _rounds(at)
        if len(rounds) > MOST_REPEATS:
            raise Unknown(f"a place repeats more than {MOST_REPEATS} times")
        zeros = self.filled(axis, 0)
        for entries in rounds:
            part, source = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
            part[at[entries]], source[at[entries]] = 1, entries
            parts = [(zeros, 1), (value, width)]
            moved = self.build.gather(self.node.meta, axis, parts, part, source)
            scaled = {} if times == 1 else {"alpha": times}
            total = self.call(aten.add.Tensor, total, moved, **scaled)
        return total


def _rounds(at: Numbers) -> list[Numbers]:
    """The entries of a list of places, in rounds in each of which no place repeats."""
    rounds: list[list[int]] = []
    seen: dict[int, int] = {}
    for entry, place in enumerate(at.tolist()):
        number = seen[place] = seen.get(place, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(entry)
    return [np.array(r, dtype=np.int64) for r in rounds]


def _index_fill(w: _Write) -> fx.Node:
    """index_fill(x, axis, places, value)."""
    axis = w.axis(w["dim"])
    at = line(w["index"], w.width(axis), w.facts)
    return w.put(axis, at, w.filled(axis, w["value"]), 1)


def _index_copy(w: _Write) -> fx.Node:
    """index_copy(x, axis, places, source)."""
    axis = w.axis(w["dim"])
    at = line(w["index"], w.width(axis), w.facts)
    w.same_size(w["source"], axis)
    return w.put(axis, at, w.env[w["source"]], len(at))


def _index_add(w: _Write) -> fx.Node:
    """index_add(x, axis, places, source, alpha)."""
    axis = w.axis(w["dim"])
    at = line(w["index"], w.width(axis), w.facts)
    w.same_size(w["source"], axis)
    return w.add(axis, at, w.env[w["source"]], len(at), w["alpha"])


def _index_put(w: _Write) -> fx.Node:
    """x[:, places] = values, or += values: places of one axis, as numbers or a mask."""
    given = [a for a, p in enumerate(w["indices"]) if p is not None]
    if len(given) != 1:
        raise Unknown("its places lie along several axes")
    axis, places, values = w.axis(given[0]), w["indices"][given[0]], w["values"]
    mask = w.facts.at[places].dtype == torch.bool
    drops = len(w.facts.at[places].dims) == 0 and not mask
    at = where_true(places, w.facts) if mask else line(places, w.width(axis), w.facts)
    if not len(at):
        raise Unknown("it writes nothing")
    if w["accumulate"]:
        return w.add(axis, at, w.fitted(axis, values, len(at), drops), len(at))
    if len(w.facts.at[values].dims) == 0:
        return w.put(axis, at, w.filled(axis, values), 1)
    return w.put(axis, at, w.fitted(axis, values, len(at), drops), len(at))


def _masked_scatter(w: _Write) -> fx.Node:
    """masked_scatter(x, mask, source) with one mask for every other axis, one source entry each."""
    dims, mask = w.facts.shape(w.x), w["mask"]
    shape = w.facts.shape(mask)
    axes = [a + len(dims) - len(shape) for a, n in enumerate(shape) if n != 1]
    if len(axes) != 1 or len(shape) > len(dims):
        raise Unknown("its mask varies along several axes, or none")
    axis = w.axis(axes[0])
    at = where_true(mask, w.facts)
    w.same_size(w["source"], axis)
    if w.facts.shape(w["source"])[axis] != len(at) or not len(at):
        raise Unknown("its source has other entries than those that are written")
    return w.put(axis, at, w.env[w["source"]], len(at))


def _scatter_value(w: _Write) -> fx.Node:
    """scatter(x, axis, index, value) with one line of places for every other axis."""
    axis = w.axis(w["dim"])
    w.same_size(w["index"], axis)
    at = np.unique(line(w["index"], w.width(axis), w.facts, axis))
    return w.put(axis, at, w.filled(axis, w["value"]), 1)


def _scatter_source(w: _Write) -> fx.Node:
    """scatter(x, axis, index, source) and scatter_add: the same with a source."""
    axis = w.axis(w["dim"])
    w.same_size(w["index"], axis)
    w.same_size(w["src"], axis)
    at = line(w["index"], w.width(axis), w.facts, axis)
    source = w.build.take(w.node.meta, w.env[w["src"]], axis, np.arange(len(at)),
                          w.facts.shape(w["src"])[axis])  # fmt: skip
    adds = w.node.target is aten.scatter_add.default
    return (w.add if adds else w.put)(axis, at, source, len(at))


def _gather(w: _Write) -> fx.Node:
    """gather(x, axis, index) with one line of places for every other axis: those channels of x."""
    axis = w.axis(w["dim"])
    w.same_size(w["index"], axis)
    at = line(w["index"], w.width(axis), w.facts, axis)
    return w.build.take(w.node.meta, w.env[w.x], axis, at, w.width(axis))


def _slice_scatter(w: _Write) -> fx.Node:
    """slice_scatter(x, source, axis, start, end, step), bounds counted from either side."""
    axis = w.axis(w["dim"])
    if any(isinstance(w[name], fx.Node) for name in ("start", "end", "step")):
        raise Unknown("its bounds are sizes")
    at = np.arange(w.width(axis))[w["start"] : w["end"] : w["step"]]
    return w.put(axis, at, w.env[w["src"]], len(at))


def _select_scatter(w: _Write) -> fx.Node:
    """select_scatter(x, source, axis, index)."""
    axis = w.axis(w["dim"])
    if isinstance(w["index"], fx.Node):
        raise Unknown("its place is a size")
    source = w.call(aten.unsqueeze.default, w.env[w["src"]], axis)
    return w.put(axis, np.array([w["index"] % w.width(axis)]), source, 1)


WRITES: dict[Any, Callable[[_Write], fx.Node]] = {
    aten.index_fill.int_Scalar: _index_fill,
    aten.index_fill.int_Tensor: _index_fill,
    aten.index_copy.default: _index_copy,
    aten.index_add.default: _index_add,
    aten.index_put.default: _index_put,
    aten._unsafe_index_put.default: _index_put,
    aten.masked_scatter.default: _masked_scatter,
    aten.scatter.value: _scatter_value,
    aten.scatter.src: _scatter_source,
    aten.scatter_add.default: _scatter_source,
    aten.gather.default: _gather,
    aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
}
