"""What an ONNX file says of its inputs and outputs, against the network it is said to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from torch import Tensor

from igc.program import Program
from igc.program.execute import execute


def interface_problems(
    graph: onnx.GraphProto, program: Program, given: Sequence[Sequence[Tensor]]
) -> Iterator[str]:
    """One line for each input, output, node or tensor that is not as the network has them.

    `given` are inputs of several sizes: whatever size the file declares has to fit all of them, so
    that a size which the network leaves open is not fixed in the file. A node or tensor whose
    value nothing reads is told too. Outputs may be fewer than the network's.
    """
    if len(graph.input) != len(program.inputs):
        yield f"input: the model takes {len(graph.input)}, the network {len(program.inputs)}"
        return
    for value, spec in zip(graph.input, program.inputs, strict=True):
        if value.name.removesuffix("_in") != spec.name.removesuffix("_in"):
            yield f"input '{value.name}': the network calls it '{spec.name}'"
    for inputs in given:
        meta = [i.to("meta") for i in inputs]
        outputs = dict(zip(program.outputs, execute(program, meta, device="meta"), strict=True))
        pairs = [*zip(graph.input, inputs, strict=True)]
        pairs += [(o, outputs[o.name]) for o in graph.output if o.name in outputs]
        misfits = [value.name for value, tensor in pairs if not _fits(value, tensor)]
        if misfits:
            yield from (f"size: '{name}' has other sizes than in the network" for name in misfits)
            break
    read = {name for node in graph.node for name in _read(node)} | {o.name for o in graph.output}
    for node in graph.node:
        if read.isdisjoint(node.output):
            yield f"wiring: nothing reads node '{node.name or node.op_type}'"
    yield from (f"tensor '{t.name}': nothing reads it" for t in graph.initializer
                if t.name not in read)  # fmt: skip


def _fits(value: onnx.ValueInfoProto, tensor: Any) -> bool:
    """Whether the declared sizes, those that are numbers, are the tensor's."""
    kind = value.type.tensor_type
    if not isinstance(tensor, Tensor) or not kind.HasField("shape"):
        return not isinstance(tensor, Tensor)
    dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return len(dims) == tensor.ndim and all(
        d is None or d == n for d, n in zip(dims, tensor.shape, strict=True)
    )


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _read(inner)
            yield from (o.name for o in graph.output)
