"""What a file holds besides nodes that are read: findings, as nothing shows what it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
import torch

from igc.onnx_files.types import NUMBERS
from igc.program import Program

OPSET = 20  # whose definitions the table of operators has
IR_VERSION = 9
OURS = "igc."  # entries of the metadata
FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16,
                    onnx.TensorProto.BFLOAT16})  # fmt: skip


def findings(model: onnx.ModelProto, program: Program) -> Iterator[str]:
    """One line for each thing that igc does not write, or that differs from the network's."""
    graph = model.graph
    opsets = {o.domain: o.version for o in model.opset_import}
    if opsets not in ({"": OPSET}, {"ai.onnx": OPSET}):
        told = ", ".join(f"'{k}' {v}" for k, v in sorted(opsets.items())) or "none"
        yield f"file: operators of opset {told}; those read here are of opset {OPSET}"
    if model.ir_version != IR_VERSION:
        yield f"file: IR version {model.ir_version}; igc writes {IR_VERSION}"
    for what, held in (
        ("local functions", model.functions), ("training information", model.training_info),
        ("sparse tensors", graph.sparse_initializer),
        ("quantisation notes", graph.quantization_annotation),
    ):  # fmt: skip
        if len(held):
            yield f"file: {len(held)} {what}"
    yield from (f"metadata: the entry '{p.key}' is none of igc's" for p in model.metadata_props
                if not p.key.startswith(OURS))  # fmt: skip
    if any(count > 1 for count in Counter(p.key for p in model.metadata_props).values()):
        yield "metadata: an entry is there twice"
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    plain.DiscardUnknownFields()
    if plain.ByteSize() != model.ByteSize():
        yield "file: fields that ONNX does not know"
    if model.domain or model.doc_string:
        yield "file: a domain or a doc string"
    shared = [name for name in program.outputs if name in {v.name for v in graph.output}]
    if [v.name for v in graph.output] != shared:
        yield "outputs: not the network's, in its order"
    yield from _names(graph)
    yield from _tensors(graph)
    yield from _interface(graph, program)
    yield from _unread(graph)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every value has one name and one maker."""
    made = Counter(o for node in graph.node for o in node.output if o)
    made.update(t.name for t in graph.initializer)
    made.update(v.name for v in graph.input)
    yield from (f"name '{name}': it stands for {count} values" for name, count in made.items()
                if count > 1)  # fmt: skip
    for node in graph.node:
        where = f"node '{node.name or node.op_type}'"
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
               for a in node.attribute):  # fmt: skip
            yield f"{where}: it holds a graph of its own"
        if any(a.ref_attr_name for a in node.attribute) or node.overload:
            yield f"{where}: it stands in a function"
        if len({a.name for a in node.attribute}) < len(node.attribute):
            yield f"{where}: an attribute is there twice"


def _tensors(graph: onnx.GraphProto) -> Iterator[str]:
    parts: list[Any] = [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    if any(a.doc_string for node in graph.node for a in node.attribute):
        yield "file: doc strings of attributes, which igc does not write"
    if any(part.doc_string or len(part.metadata_props) for part in parts):
        yield "file: doc strings or notes, which igc does not write"
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield f"tensor '{tensor.name}': its numbers lie in another file"


def _interface(graph: onnx.GraphProto, program: Program) -> Iterator[str]:
    """Types, and sizes: one name for each size that the network leaves open."""
    names: dict[str, str] = {}
    other = {t for v in graph.input if (t := v.type.tensor_type.elem_type) in FLOATS}
    for value, spec in zip(graph.input, program.inputs, strict=False):
        kind = value.type.tensor_type
        allowed = {NUMBERS.get(spec.dtype)}
        if spec.dtype in (torch.float16, torch.bfloat16):
            allowed.add(onnx.TensorProto.FLOAT)
        if kind.elem_type not in allowed:
            yield f"input '{value.name}': its type is not the network's"
        dims = [d.dim_param or d.dim_value for d in kind.shape.dim]
        if len(dims) != len(spec.dims):
            yield f"input '{value.name}': {len(dims)} axes instead of {len(spec.dims)}"
            continue
        for given, size in zip(dims, spec.dims, strict=True):
            if isinstance(size, int):
                if given != size:
                    yield f"input '{value.name}': a size is {given or 'open'} instead of {size}"
            elif not isinstance(given, str):
                yield f"input '{value.name}': a size is {given}, which the network leaves open"
            elif names.setdefault(size, given) != given:
                yield f"input '{value.name}': '{given}' and '{names[size]}' are one size"
    if len(set(names.values())) < len(names):
        yield "inputs: one name for sizes that the network has apart"
    if len(other) > 1:
        yield "inputs: of several floating types"


def _unread(graph: onnx.GraphProto) -> Iterator[str]:
    """Nodes and tensors that no output depends on."""
    made = {o: n for n, node in enumerate(graph.node) for o in node.output}
    used, stack, seen = set(), [v.name for v in graph.output], set()
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in made and made[name] not in used:
            used.add(made[name])
            stack += graph.node[made[name]].input
    for n, node in enumerate(graph.node):
        if n not in used:
            yield f"node '{node.name or node.op_type}': no output depends on it"
    yield from (f"tensor '{t.name}': no output depends on it" for t in graph.initializer
                if t.name not in seen)  # fmt: skip
