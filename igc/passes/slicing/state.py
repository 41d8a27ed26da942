"""The sliced graph so far, and what stands in it for each value, cut to the channels asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import fx

from igc.analysis.form import Form
from igc.analysis.liveness import Liveness, input_axis
from igc.analysis.reads import Masks, full
from igc.passes.builder import Builder
from igc.passes.slicing.sharing import Shared, shared_parts
from igc.program.nodes import mapped
from igc.program.schema import argument, changed

aten = torch.ops.aten


@dataclass
class Slicer:
    """The new graph so far, and the new nodes for channels of the old ones.

    `materialize` computes masked channels of a node from its form.
    """

    live: Liveness
    materialize: Callable[[Slicer, fx.Node, Form, Masks], fx.Node]
    env: dict[fx.Node, Any] = field(default_factory=dict)
    made: dict[tuple[fx.Node, bytes], fx.Node] = field(default_factory=dict)
    shared: dict[fx.Node, list[Shared]] = field(default_factory=dict)
    equal: dict[fx.Node, list[tuple[fx.Node, dict[int, list[int]]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts = self.live.forms.facts
        self.program = self.facts.program
        self.build = Builder(self.program)
        self.pool = self.build.pool

    def value(self, node: fx.Node, masks: Masks) -> fx.Node:
        """The new node that holds exactly the masked channels of an old one."""
        if node.op == "get_attr":
            return self._constant(node, masks)
        key = (node, b"".join(m.tobytes() for m in masks))
        if key not in self.made:
            self.made[key] = self._value(node, masks)
        return self.made[key]

    def _constant(self, node: fx.Node, masks: Masks) -> fx.Node:
        """A part of a constant, or what is taken of the part that several readers share."""
        if node not in self.shared:
            readers = [part for _, part in self.live.readers.get(node, ())]
            floating = self.program.constants[str(node.target)].dtype.is_floating_point
            parts = shared_parts(readers) if floating and len(readers) > 1 else []
            self.shared[node] = [part for part in parts if part.readers > 1]
        whole = next((p.masks for p in self.shared[node] if p.holds(masks)), masks)
        index = [None if m.all() else np.flatnonzero(m) for m in whole]
        result = self.build.attr(self.pool.sliced(str(node.target), index), node.meta)
        for axis, (mask, kept) in enumerate(zip(masks, whole, strict=True)):
            part = np.flatnonzero(mask[kept])
            result = self.build.take(node.meta, result, axis, part, int(kept.sum()))
        return result

    def _value(self, node: fx.Node, masks: Masks) -> fx.Node:
        form = self.live.forms.form.get(node)
        if form is not None and form.partial:
            assert form.axis is not None
            missing = masks[form.axis] & ~self.live.kept[node][form.axis]
            if missing.any():
                return self.materialize(self, node, form, masks)
        return self.cut(node, masks)

    def cut(self, node: fx.Node, masks: Masks) -> fx.Node:
        """The masked channels of a node that keeps at least those."""
        result = cast("fx.Node", self.env[node])
        for axis, (mask, kept) in enumerate(zip(masks, self.live.kept[node], strict=True)):
            index = np.flatnonzero(mask[kept])
            result = self.build.take(node.meta, result, axis, index, int(kept.sum()))
        return result

    def twins(self, source: fx.Node) -> list[tuple[fx.Node, dict[int, list[int]]]]:
        """The nodes that hold channels equal to some of `source`: which of theirs, by its own."""
        if not self.equal:
            for node, form in self.live.forms.form.items():
                for piece in form.pieces if form.partial else ():
                    copies: dict[int, list[int]] = {}
                    for channel in np.flatnonzero(piece.coefficient):
                        copies.setdefault(int(piece.index[channel]), []).append(int(channel))
                    if piece.source is not node:
                        self.equal.setdefault(piece.source, []).append((node, copies))
            self.equal.setdefault(source, [])
        return self.equal.get(source, [])

    def size(self, node: fx.Node, axis: int) -> fx.Node:
        """The dynamic size of an axis, read off an input or off any value that has it.

        Where none has, as with the last of three parts of a width, the node is written for it.
        """
        size = self.facts.sizes(node)[axis]
        found = input_axis(size, self.live)
        if found is None:
            found = next(
                (
                    (n, a)
                    for n in self.env
                    if self.facts.is_tensor(n)
                    for a, here in enumerate(self.facts.sizes(n))
                    if here == size
                ),
                None,
            )
        value = self.whole(node) if found is None else self.env[found[0]]
        where = axis if found is None else found[1]
        return self.build.call(node.meta, aten.sym_size.int, value, where)

    def whole(self, node: fx.Node) -> fx.Node:
        """The node over all channels of its operands."""
        return self.copy(node, {
            n: self.value(n, full(self.facts.shape(n)))
            for n in node.all_input_nodes
            if self.facts.is_tensor(n)
        })  # fmt: skip

    def copy(
        self,
        node: fx.Node,
        operands: dict[fx.Node, fx.Node],
        changes: Mapping[str, Any] | None = None,
    ) -> fx.Node:
        """A copy of the node over new operands, with some arguments changed, by name."""
        args, kwargs = changed(node, changes or {})

        def look(n: fx.Node) -> Any:
            return operands[n] if n in operands else self.env[n]

        new = self.build.graph.create_node(
            "call_function",
            node.target,
            mapped(tuple(args), look),
            mapped(kwargs, look),
            name=node.name,
        )
        new.meta = dict(node.meta)
        return new

    def sizes(self, node: fx.Node, name: str, kept: Masks) -> dict[str, Any]:
        """The change of the argument `name`, output sizes: static axes at their kept counts."""
        sizes, dynamic = argument(node, name), self.facts.dynamic(node)
        return {name: [s if d or (s == -1 and m.all()) else int(m.sum())
                       for s, d, m in zip(sizes, dynamic, kept, strict=True)]}  # fmt: skip
