"""What the pass loop writes down: one row per pass, and every rewrite that declined, with why."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from igc.program.nodes import layer_of


@dataclass(frozen=True)
class Row:
    """One pass: nodes and constant elements after it, and its seconds."""

    name: str
    nodes: int
    elements: int
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Remark:
    """Why a node was left as it is: `kind` is "opaque" or "declined"."""

    kind: str
    layer: str
    op: str
    reason: str


@dataclass
class Record:
    """Rows in the order the passes ran; remarks without repeats, in order of appearance."""

    rows: list[Row] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def declined(self, node: fx.Node, reason: str) -> None:
        """A rewrite that did not apply to `node`, and why."""
        self._remark("declined", node, reason)

    def opaque(self, node: fx.Node, reason: str) -> None:
        """An op that channels cannot be sliced through."""
        self._remark("opaque", node, reason)

    def _remark(self, kind: str, node: fx.Node, reason: str) -> None:
        maker = node.all_input_nodes[0] if node.target is operator.getitem else node
        remark = Remark(kind, layer_of(node), str(maker.target), reason)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without seconds, so that reports are reproducible."""
        return {
            "passes": [
                {"name": r.name, "nodes": r.nodes, "elements": r.elements, "changed": r.changed}
                for r in self.rows
            ],
            "remarks": [vars(r) for r in self.remarks],
        }
