"""SliceChannels: rebuild the graph with live channels only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from igc.analysis.forms import forms
from igc.analysis.liveness import Liveness, liveness
from igc.ops import Facts, relation
from igc.ops.relations import Opaque
from igc.passes.record import Record
from igc.passes.slicing.walk import sliced
from igc.program import Program
from igc.program.nodes import call_of


@dataclass(frozen=True)
class SliceChannels:
    """Every tensor is cut to its live channels; gates and mixes become concatenate and gather."""

    name: str = "slice channels"

    def __call__(self, program: Program, record: Record) -> Program:
        """The sliced program; the same object where nothing is dead."""
        live = analysed(program)
        _record(live, record)
        if not _changes(live):
            return program
        return sliced(live)


def analysed(program: Program) -> Liveness:
    """Which channels of every value live."""
    facts = Facts.of(program)
    relations = {
        n: relation(n, facts) if n.op == "call_function" else Opaque("not an op")
        for n in program.graph.nodes
        if n.op != "output" and facts.at[n].shape is not None
    }
    return liveness(forms(facts, relations))


def _changes(live: Liveness) -> bool:
    for node in live.forms.relations:
        kept = live.kept.get(node)
        if live.forms.gains(node):
            return True
        if node.op == "call_function" and (kept is None or not all(m.all() for m in kept)):
            return True
    return False


def _record(live: Liveness, record: Record) -> None:
    named: set[fx.Node] = set()
    for node, rel in live.forms.relations.items():
        alive = node in live.kept and all(m.any() for m in live.kept[node])
        call = call_of(node)
        # An arange, say, reads sizes alone, and keeps nothing.
        reads = any(map(live.forms.facts.is_tensor, call.all_input_nodes))
        known = node.op != "call_function" or call in named
        if isinstance(rel, Opaque) and alive and reads and not known:
            named.add(call)
            record.opaque(call, rel.reason)
    for node, plan in live.groups.items():
        if plan.extra:
            record.declined(
                node, f"groups keep equal widths: {plan.extra} kernel columns more than live"
            )
