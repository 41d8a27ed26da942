"""The walk that writes the sliced graph: every value cut to its live channels, once.

What becomes of a node is said by its relation (`by_relation`), or by its form where gates and mixes
decide its channels (`by_form`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from igc.analysis.liveness import Liveness, lifted
from igc.analysis.reads import Masks, full
from igc.ops.relations import Select
from igc.passes.slicing.by_form import materialize
from igc.passes.slicing.by_relation import CUTS
from igc.passes.slicing.state import Slicer
from igc.program import Program
from igc.program.nodes import copy_node


def sliced(live: Liveness) -> Program:
    """The program with live channels only."""
    slicer = Slicer(live, materialize)
    graph, env = slicer.build.graph, slicer.env
    for node in slicer.program.placeholders:
        env[node] = copy_node(graph, node, env.__getitem__)
    for node in slicer.program.graph.nodes:
        if node.op == "output":
            outputs = slicer.program.output_nodes
            graph.output([slicer.value(n, full(slicer.facts.shape(n))) for n in outputs])
        elif node.op == "call_function":
            _visit(slicer, node)
    return slicer.build.finished()


def _visit(slicer: Slicer, node: fx.Node) -> None:
    """Writes the sliced form of one node."""
    live, env = slicer.live, slicer.env
    kept = live.kept.get(node)
    if not slicer.facts.is_tensor(node):
        if kept is not None:
            env[node] = slicer.whole(node)
        elif all(n in env for n in node.all_input_nodes):  # a size
            env[node] = copy_node(slicer.build.graph, node, env.__getitem__)
        return
    if kept is None or not all(m.any() for m in kept):
        return
    if live.forms.gains(node):
        new = materialize(slicer, node, lifted(live.forms.form[node], node, live), kept)
    else:
        new = _written(slicer, node, kept)
    env[node] = new
    if new.op == "call_function" and "kept" not in new.meta:
        new.meta = {**new.meta, **_meta(node, kept)}


def _written(slicer: Slicer, node: fx.Node, kept: Masks) -> fx.Node:
    """The node as written, over sliced operands."""
    rel = slicer.live.forms.relations[node]
    if isinstance(rel, Select):
        rel = rel.written
    cut = CUTS.get(type(rel))
    return slicer.whole(node) if cut is None else cut(slicer, node, rel, kept)


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
