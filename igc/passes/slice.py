"""SliceChannels: rebuild the graph with live channels only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import fx

from igc.analysis.forms import forms
from igc.analysis.liveness import (
    Liveness,
    Masks,
    blocks_of,
    followed,
    full,
    input_axis,
    lifted,
    liveness,
    mixed_input,
    mixed_weight,
    pieces_of,
    regrouped,
    taken,
)
from igc.graph import Program, copy_node, mapped
from igc.ops import Facts, relation
from igc.ops.relations import Blocks, Concat, Mixing, Opaque, Pointwise, Regroup, Select, Take
from igc.passes.constants import ConstantPool
from igc.passes.materialize import fill, materialize
from igc.passes.rebuild import Builder
from igc.passes.record import Record

aten = torch.ops.aten


@dataclass(frozen=True)
class SliceChannels:
    """Every tensor is cut to its live channels; gates and mixes become concatenate and gather."""

    name: str = "slice channels"

    def __call__(self, program: Program, record: Record) -> Program:
        """The sliced program; the same object where nothing is dead."""
        facts = Facts.of(program)
        relations = {
            n: relation(n, facts) if n.op == "call_function" else Opaque("not an op")
            for n in program.graph.nodes
            if n.op != "output" and facts.at[n].shape is not None
        }
        live = liveness(forms(facts, relations))
        _record(live, record)
        if not _changes(live):
            return program
        return _Slicer(live, ConstantPool(program)).run()


def _changes(live: Liveness) -> bool:
    for node in live.forms.relations:
        kept = live.kept.get(node)
        if live.forms.gains(node):
            return True
        if node.op == "call_function" and (kept is None or not all(m.all() for m in kept)):
            return True
    return False


def _record(live: Liveness, record: Record) -> None:
    for node, rel in live.forms.relations.items():
        alive = node in live.kept and all(m.any() for m in live.kept[node])
        # An arange, say, reads sizes alone, and keeps nothing.
        reads = any(map(live.forms.facts.is_tensor, node.all_input_nodes))
        if isinstance(rel, Opaque) and node.op == "call_function" and alive and reads:
            record.opaque(node, rel.reason)
    for node, plan in live.groups.items():
        if plan.extra:
            record.declined(
                node, f"groups keep equal widths: {plan.extra} kernel columns more than live"
            )


@dataclass
class _Slicer:
    """Walks the old graph once and writes the new one."""

    live: Liveness
    pool: ConstantPool
    env: dict[fx.Node, Any] = field(default_factory=dict)
    made: dict[tuple[fx.Node, bytes], fx.Node] = field(default_factory=dict)
    equal: dict[fx.Node, list[tuple[fx.Node, dict[int, list[int]]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.build = Builder(self.pool)
        self.facts = self.live.forms.facts
        self.program = self.facts.program

    def run(self) -> Program:
        """The new program."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.env[node] = copy_node(self.build.graph, node, self.env.__getitem__)
        for node in self.program.graph.nodes:
            if node.op == "output":
                self.build.graph.output([
                    self.value(n, full(self.facts.shape(n))) for n in self.program.output_nodes
                ])  # fmt: skip
            elif node.op == "call_function":
                self.visit(node)
        self.build.graph.eliminate_dead_code(
            is_impure_node=lambda n: n.op in ("placeholder", "output")
        )
        self.build.graph.lint()
        return self.program.with_graph(self.build.graph, self.pool.values, self.pool.origins)

    def visit(self, node: fx.Node) -> None:
        """Write the sliced form of one node."""
        kept = self.live.kept.get(node)
        if not self.facts.is_tensor(node):
            if kept is not None:
                self.env[node] = self.whole(node)
            elif all(n in self.env for n in node.all_input_nodes):  # a size
                self.env[node] = copy_node(self.build.graph, node, self.env.__getitem__)
            return
        if kept is None or not all(m.any() for m in kept):
            return
        if self.live.forms.gains(node):
            form = lifted(self.live.forms.form[node], node, self.live)
            new = materialize(self, node, form, kept)
        else:
            new = self.written(node, kept)
        self.env[node] = new
        if new.op == "call_function" and "kept" not in new.meta:
            new.meta = {**new.meta, **_meta(node, kept)}

    def value(self, node: fx.Node, masks: Masks) -> fx.Node:
        """The new node that holds exactly the masked channels of an old one."""
        if node.op == "get_attr":
            index = [None if m.all() else np.flatnonzero(m) for m in masks]
            return self.build.attr(self.pool.sliced(str(node.target), index), node.meta)
        key = (node, b"".join(m.tobytes() for m in masks))
        if key not in self.made:
            self.made[key] = self._value(node, masks)
        return self.made[key]

    def _value(self, node: fx.Node, masks: Masks) -> fx.Node:
        form = self.live.forms.form.get(node)
        if form is not None and form.partial:
            assert form.axis is not None
            missing = masks[form.axis] & ~self.live.kept[node][form.axis]
            if missing.any():
                return materialize(self, node, form, masks)
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
        """The dynamic size of an axis, read off an input or off any value that has it."""
        at, other = self.facts.at, self.facts.at_other
        pair = at[node].dims[axis], other[node].dims[axis]
        found = input_axis(*pair, self.live)
        if found is None:
            found = next(
                (n, a)
                for n in self.env
                if self.facts.is_tensor(n)
                for a, here in enumerate(zip(at[n].dims, other[n].dims, strict=True))
                if here == pair
            )
        return self.build.call(node.meta, aten.sym_size.int, self.env[found[0]], found[1])

    def written(self, node: fx.Node, kept: Masks) -> fx.Node:
        """The node as written, over sliced operands."""
        rel = self.live.forms.relations[node]
        if isinstance(rel, Select):
            rel = rel.written
        if isinstance(rel, Pointwise):
            return self._pointwise(node, rel, kept)
        if isinstance(rel, Mixing):
            return self._mixing(node, rel, kept)
        if isinstance(rel, Concat):
            parts = [self.value(n, m) for n, m in pieces_of(rel, kept, self.live)
                     if all(x.any() for x in m)]  # fmt: skip
            if len(parts) == 1:
                return parts[0]
            return self.build.call(node.meta, aten.cat.default, parts, rel.axis)
        if isinstance(rel, Take):
            return self._take(node, rel, kept)
        if isinstance(rel, Regroup):
            x = self.value(rel.x, regrouped(rel, node, kept, self.live))
            return self.copy(node, {rel.x: x}, sizes=(rel.sizes, kept))
        if isinstance(rel, Blocks):
            return self._blocks(node, rel, kept)
        return self.whole(node)

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
        changes: dict[int, Any] | None = None,
        sizes: tuple[int, Masks] | None = None,
    ) -> fx.Node:
        """A copy of the node over new operands, with some arguments changed."""
        args = list(node.args)
        for position, value in (changes or {}).items():
            while len(args) <= position:
                schema = cast("torch._ops.OpOverload", node.target)._schema
                args.append(schema.arguments[len(args)].default_value)
            args[position] = value
        if sizes is not None:
            args[sizes[0]] = self._sizes(node, list(cast("list[Any]", args[sizes[0]])), sizes[1])

        def look(n: fx.Node) -> Any:
            return operands[n] if n in operands else self.env[n]

        new = self.build.graph.create_node(
            "call_function",
            node.target,
            mapped(tuple(args), look),
            mapped(node.kwargs, look),
            name=node.name,
        )
        new.meta = dict(node.meta)
        return new

    def _sizes(self, node: fx.Node, sizes: list[Any], kept: Masks) -> list[Any]:
        """Output sizes with static axes at their kept counts."""
        dynamic = self.facts.dynamic(node)
        return [s if d or (s == -1 and m.all()) else int(m.sum())
                for s, d, m in zip(sizes, dynamic, kept, strict=True)]  # fmt: skip

    def _pointwise(self, node: fx.Node, rel: Pointwise, kept: Masks) -> fx.Node:
        new = [
            self.value(f.node, followed(f, kept, self.facts.shape(f.node))) for f in rel.operands
        ]
        operands = {f.node: n for f, n in zip(rel.operands, new, strict=True)}
        if len(operands) < len(new):
            return self._repeated(node, new)
        return self.copy(node, operands, sizes=None if rel.sizes is None else (rel.sizes, kept))

    def _repeated(self, node: fx.Node, operands: list[fx.Node]) -> fx.Node:
        """A node that reads one value several times, perhaps cut in different ways."""
        new = iter(operands)

        def look(n: fx.Node) -> Any:
            return next(new) if self.facts.is_tensor(n) else self.env[n]

        args = mapped(node.args, look)
        kwargs = mapped(node.kwargs, look)
        result = self.build.graph.create_node(
            "call_function", node.target, args, kwargs, name=node.name
        )
        result.meta = dict(node.meta)
        return result

    def _mixing(self, node: fx.Node, rel: Mixing, kept: Masks) -> fx.Node:
        plan = self.live.groups.get(node)
        if plan is not None:
            return self._grouped(node, rel, kept)
        if rel.groups > 1:
            columns = np.ones(self.facts.shape(rel.x.node)[rel.x_axis], dtype=bool)
        else:
            # The first of them: x may be the weight too.
            columns = next(m for n, m in self._reads(node) if n is rel.x.node)[rel.x_axis]
        x = self.value(rel.x.node, mixed_input(rel, kept, columns, self.live))
        weight = self.value(rel.weight.node, mixed_weight(rel, kept, columns, self.live))
        operands = {rel.weight.node: weight, rel.x.node: x}
        if rel.bias is not None:
            operands[rel.bias] = self.value(rel.bias, (kept[rel.out_axis],))
        if rel.x.node is rel.weight.node:
            bias = [] if rel.bias is None else [operands[rel.bias]]
            first = node.target is aten.addmm.default
            return self._repeated(node, [*bias, x, weight] if first else [x, weight, *bias])
        return self.copy(node, operands)

    def _reads(self, node: fx.Node) -> list[tuple[fx.Node, Masks]]:
        return [
            (operand, masks)
            for operand in node.all_input_nodes
            for user, masks in self.live.readers.get(operand, ())
            if user is node
        ]

    def _grouped(self, node: fx.Node, rel: Mixing, kept: Masks) -> fx.Node:
        plan = self.live.groups[node]
        x = self.value(rel.x.node, mixed_input(rel, kept, plan.columns_mask, self.live))
        weight = self.program.constants[str(rel.weight.node.target)]
        width = weight.shape[0] // rel.groups if not rel.transposed else weight.shape[1]
        per_in = self.facts.shape(rel.x.node)[rel.x_axis] // rel.groups
        blocks, picks = [], []
        for rows, columns in zip(plan.rows, plan.columns, strict=True):
            r = torch.from_numpy(rows % width if rel.transposed else rows)
            c = torch.from_numpy(columns if rel.transposed else columns % per_in)
            first, second = (c, r) if rel.transposed else (r, c)
            picks.append((first, second))
            blocks.append(weight.index_select(0, first).index_select(1, second))
        cut = torch.cat(blocks)
        name = str(rel.weight.node.target)
        if cut.shape != weight.shape:
            name = self.pool.add(name, cut, self.pool.group_origin(name, plan, picks))
        operands = {rel.x.node: x, rel.weight.node: self.build.attr(name, rel.weight.node.meta)}
        if rel.bias is not None:
            operands[rel.bias] = self.value(rel.bias, (plan.rows_mask,))
        assert rel.groups_at is not None
        return self.copy(node, operands, changes={rel.groups_at: len(plan.rows)})

    def _take(self, node: fx.Node, rel: Take, kept: Masks) -> fx.Node:
        masks = taken(rel, kept, self.facts.shape(rel.x))
        mask = masks[rel.axis]
        if rel.drops:
            x = self.value(rel.x, masks)
            return self.build.call(node.meta, aten.select.int, x, rel.axis, 0)
        wanted = rel.index[kept[rel.axis]]
        if bool((rel.index < 0).any()):
            if kept[rel.axis].all() and mask.all():
                return self.copy(node, {rel.x: self.value(rel.x, masks)})
            return self._padded(node, rel, kept, masks)
        position = np.cumsum(mask) - 1
        kept_of_x = self.live.kept.get(rel.x)
        if kept_of_x is not None and rel.x in self.env and rel.x.op != "get_attr":
            wide = (*masks[: rel.axis], kept_of_x[rel.axis], *masks[rel.axis + 1 :])
            form = self.live.forms.form.get(rel.x)
            if form is None or form.gains:
                x = self.cut(rel.x, wide)
                position = np.cumsum(wide[rel.axis]) - 1
                return self.build.take(
                    node.meta, x, rel.axis, position[wanted], int(wide[rel.axis].sum())
                )
        x = self.value(rel.x, masks)
        return self.build.take(node.meta, x, rel.axis, position[wanted], int(mask.sum()))

    def _padded(self, node: fx.Node, rel: Take, kept: Masks, masks: Masks) -> fx.Node:
        """Some channels of a channel-wise padding: those of x, and the constant."""
        wanted = rel.index[kept[rel.axis]]
        parts: list[tuple[fx.Node, int]] = []
        if mask_any := bool((wanted >= 0).any()):
            parts.append((self.value(rel.x, masks), int(masks[rel.axis].sum())))
        if bool((wanted < 0).any()):
            parts.append((fill(self, node, rel.axis, kept, np.array([rel.fill])), 1))
        position = np.cumsum(masks[rel.axis]) - 1
        at = np.where(wanted < 0, 0, position[np.maximum(wanted, 0)])
        return self.build.gather(
            node.meta, rel.axis, parts, np.where((wanted < 0) & mask_any, 1, 0), at
        )

    def _blocks(self, node: fx.Node, rel: Blocks, kept: Masks) -> fx.Node:
        x = self.value(rel.x, blocks_of(rel, kept, self.facts.shape(rel.x)))
        operands = {rel.x: x}
        for param in rel.params:
            operands[param] = self.value(param, (kept[rel.axis],))
        changes = {}
        if rel.count_at is not None:
            changes[rel.count_at] = int(kept[rel.axis].sum()) // rel.out_block
        return self.copy(node, operands, changes=changes)


def _meta(node: fx.Node, kept: Masks) -> dict[str, Any]:
    """Which channels of the first graph's node a sliced node holds."""
    before = node.meta.get("kept", {})
    now = {}
    for axis, mask in enumerate(kept):
        numbers = np.flatnonzero(mask)
        if axis in before:
            now[axis] = [before[axis][i] for i in numbers]
        elif not mask.all():
            now[axis] = [int(i) for i in numbers]
    return {"source": node.meta.get("source", node.name), "kept": now}
