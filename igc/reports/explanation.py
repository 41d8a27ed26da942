"""Why a channel, a layer or an op was kept: the liveness facts, told by layer.

The explanation reads the gated network after its constants are folded, before anything is cut:
there every channel is one of

    live       some output depends on it; its readers are named
    constant   its value is known, so nobody needs to compute it
    dead       nobody reads it: every gate that could have read it is closed, or its reader is dead
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from igc.analysis.gates import refuse_open_questions
from igc.analysis.liveness import Liveness, own_channels
from igc.capture import Example
from igc.compiler import Source, compile_program, program_of
from igc.errors import BadInput
from igc.ops.relations import Mixing
from igc.passes import Record
from igc.passes.fold import FoldConstants
from igc.passes.record import Remark
from igc.passes.slicing.slice_channels import analysed
from igc.passes.stacks import SpellOutStacks
from igc.program import Program
from igc.program.nodes import layer_of


@dataclass(frozen=True)
class Reader:
    """A layer that reads channels of the one explained."""

    layer: str
    op: str
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """What became of the output channels of one op, and why."""

    layer: str
    op: str
    total: int
    live: tuple[int, ...]
    constant: tuple[int, ...]
    shared: tuple[int, ...]
    dead: tuple[int, ...]
    readers: tuple[Reader, ...]
    outputs: tuple[str, ...]

    @property
    def kept(self) -> int:
        """How many channels the static network computes here."""
        return len(self.live)


@dataclass(frozen=True)
class Explanation:
    """The reasons, in execution order, and the remarks of the passes."""

    reasons: tuple[Reason, ...]
    remarks: tuple[Remark, ...]
    layer: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": 1,
            "layer": self.layer,
            "ops": [
                {**vars(r), "readers": [vars(x) for x in r.readers], "kept": r.kept}
                for r in self.reasons
            ],
            "remarks": [vars(r) for r in self.remarks],
        }

    def __str__(self) -> str:
        lines = list(self._lines())
        return "\n".join(lines)

    def _lines(self) -> Iterator[str]:
        for reason in self.reasons:
            yield f"{reason.layer} ({reason.op}): {reason.kept} of {reason.total} channels kept"
            if self.layer is not None:
                yield from _details(reason)
        for remark in self.remarks:
            kept = "kept whole" if remark.kind == "opaque" else "left as it is"
            yield f"{remark.layer} ({remark.op}): {kept}: {remark.reason}"


def _details(reason: Reason) -> Iterator[str]:
    if reason.live:
        yield f"  live      {ranges(reason.live)}; reaches {', '.join(reason.outputs)}"
    for reader in reason.readers:
        yield f"            read by {reader.layer} ({reader.op}): {ranges(reader.channels)}"
    if reason.constant:
        yield f"  constant  {ranges(reason.constant)}: their value is known, nothing computes them"
    if reason.shared:
        yield f"  shared    {ranges(reason.shared)}: equal to channels computed elsewhere"
    if reason.dead:
        yield f"  dead      {ranges(reason.dead)}: no open gate and no live layer reads them"


def ranges(numbers: tuple[int, ...]) -> str:
    """Numbers as "0-3, 7, 9-12"."""
    parts: list[str] = []
    start = previous = None
    for number in (*numbers, None):
        if previous is not None and number == previous + 1:
            previous = number
            continue
        if start is not None:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = number
    return ", ".join(parts)


def explain(
    source: Source, layer: str | None = None, example_inputs: Example | None = None
) -> Explanation:
    """Returns why the ops of `layer` (default: of every layer with weights) keep what they keep.

    `source` is a module (with `example_inputs`), or the path of a file that `igc.save` wrote.
    `layer` is a name in the network; names under it count too (`layer1` explains `layer1.0.conv1`).
    Raises `BadInput` for a layer that is not there, naming those that are close.
    """
    program = program_of(source, example_inputs)
    refuse_open_questions(program)
    _, record = compile_program(program)
    folded = FoldConstants()(program, Record())
    live = analysed(SpellOutStacks()(folded, Record()))
    reasons = tuple(_reasons(live, layer))
    remarks = tuple(r for r in record.remarks if layer is None or _within(r.layer, layer))
    if layer is not None and not reasons and not remarks:
        raise BadInput(_unknown(layer, program))
    return Explanation(reasons, remarks, layer)


def _within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".") or f".{layer}." in f".{name}."


def _reasons(live: Liveness, layer: str | None) -> Iterator[Reason]:
    reached = _outputs_reached(live)
    for node, rel in live.forms.relations.items():
        if node.op != "call_function" or node in live.forms.virtual:
            continue  # a virtual node is only a step in spelling out a gate or a mix
        if layer is None and not isinstance(rel, Mixing):
            continue
        if layer is not None and not _within(layer_of(node), layer):
            continue
        yield _reason(node, live, reached)


def _axis(node: fx.Node, live: Liveness) -> int:
    """The axis whose channels are told: the contraction's, the form's, or the usual one."""
    rel, form = live.forms.relations[node], live.forms.form.get(node)
    if isinstance(rel, Mixing):
        return rel.out_axis
    if form is not None and form.axis is not None:
        return form.axis
    rank = len(live.forms.facts.shape(node))
    return 1 if rank in (2, 4, 5) else rank - 1


def _reason(node: fx.Node, live: Liveness, reached: dict[fx.Node, set[str]]) -> Reason:
    axis = _axis(node, live)
    size = live.forms.facts.shape(node)[axis]
    kept = live.kept.get(node)
    alive = np.zeros(size, dtype=bool)
    if kept is not None and all(m.any() for m in kept):
        alive = kept[axis]
    constant = shared = np.zeros(size, dtype=bool)
    form = live.forms.form.get(node)
    if form is not None and form.axis == axis:
        constant = form.constant
        if form.partial:
            shared = ~(own_channels(form, node) | constant)
    readers = tuple(
        Reader(
            "output" if user.op == "output" else layer_of(user),
            "output" if user.op == "output" else str(user.target),
            _numbers(masks[axis] & ~constant),
        )
        for user, masks in live.readers.get(node, ())
        if user.op == "output" or user in live.kept
    )
    return Reason(
        layer_of(node),
        str(node.target),
        size,
        _numbers(alive),
        _numbers(constant & ~alive),
        _numbers(shared & ~alive & ~constant),
        _numbers(~(alive | constant | shared)),
        tuple(r for r in readers if r.channels),
        tuple(o for o in live.forms.facts.program.outputs if o in reached.get(node, ())),
    )


def _numbers(mask: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))


def _outputs_reached(live: Liveness) -> dict[fx.Node, set[str]]:
    program = live.forms.facts.program
    reached: dict[fx.Node, set[str]] = {}
    for name, node in zip(program.outputs, program.output_nodes, strict=True):
        reached.setdefault(node, set()).add(name)
    for node in reversed(list(program.graph.nodes)):
        for user, masks in live.readers.get(node, ()):
            if user.op != "output" and all(m.any() for m in masks):
                reached.setdefault(node, set()).update(reached.get(user, ()))
    return reached


def _unknown(layer: str, program: Program) -> str:
    import difflib

    names = list(dict.fromkeys(layer_of(n) for n in program.graph.nodes if n.op == "call_function"))
    close = difflib.get_close_matches(layer, names, n=3, cutoff=0.3) or names[:3]
    return f"no layer '{layer}' in this network; did you mean {', '.join(close)}?"
