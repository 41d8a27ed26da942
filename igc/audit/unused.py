"""What stands in an ONNX file and is read by nothing."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def unused(graph: onnx.GraphProto) -> Iterator[str]:
    """One line for each node or tensor whose value nothing reads."""
    read = {name for node in graph.node for name in _read(node)} | {o.name for o in graph.output}
    for node in graph.node:
        if read.isdisjoint(node.output):
            yield f"wiring: nothing reads node '{node.name or node.op_type}'"
    yield from (f"tensor '{t.name}': nothing reads it" for t in graph.initializer
                if t.name not in read)  # fmt: skip


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _read(inner)
            yield from (o.name for o in graph.output)
