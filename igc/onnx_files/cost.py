"""The cost of any ONNX file, from the shapes that ONNX itself infers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import onnx

from igc.analysis.cost import ConstantCost, Cost, NodeCost
from igc.analysis.demand import Route, demand
from igc.errors import BadInput, IgcError, one_line
from igc.onnx_files.guard import read_onnx
from igc.onnx_files.macs import FREE_DOMAINS, RULES, UNCOUNTED
from igc.onnx_files.routes import onnx_routes
from igc.onnx_files.sizes import inferred
from igc.onnx_files.types import FLOATING

Shape = tuple[int, ...]
RUNNING = {"BatchNormalization": (3, 4)}
UNCOUNTABLE = (
    ArithmeticError, AssertionError, AttributeError, IgcError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def onnx_cost(path: str, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Cost:
    """The cost of the network in an ONNX file, for one input.

    A dynamic batch counts as 1. Other dynamic sizes come from `input_shapes`, or from the
    `igc.input_shapes` entry of the file's metadata where igc wrote it. Raises `BadInput` where the
    file cannot be read, or a size is not known.
    """
    model = read_onnx(path)
    fixed = _fix_inputs(model, input_shapes or {}, path)
    try:
        graph = inferred(model).graph
    except Exception as error:  # its own errors and protobuf's
        raise BadInput(f"{path}: its shapes cannot be inferred: {one_line(error)}") from error
    shapes, widths = _shapes(graph)
    needed = _reaches(graph, shapes)
    outputs = tuple(o.name for o in graph.output)
    layers = _layers(graph)
    return Cost(
        input_shapes=tuple(fixed.values()),
        outputs=outputs,
        nodes=tuple(
            _node(n, shapes, _tasks(n.output, needed, outputs), layers[_name(n)])
            for n in graph.node
        ),
        constants=_constants(graph, needed, outputs, layers),
        peak_bytes=_peak(graph, shapes, widths),
    )


def _fix_inputs(
    model: onnx.ModelProto, given: Mapping[str, Sequence[int]], path: str
) -> dict[str, Shape]:
    """Puts a number in place of every dynamic size of the inputs; returns the shapes."""
    noted = {p.key: p.value for p in model.metadata_props}.get("igc.input_shapes", "")
    known = _parse(noted) | {k: tuple(v) for k, v in given.items()}
    weights = {i.name for i in model.graph.initializer}
    del model.graph.value_info[:]  # written for dynamic sizes; inference finds them anew
    fixed: dict[str, Shape] = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                continue
            shape = known.get(value.name, ())
            if axis > 0 and axis >= len(shape):
                raise BadInput(
                    f"{path}: size {axis} of input '{value.name}' is dynamic; "
                    "the cost depends on it: give input_shapes"
                )
            dim.dim_value = 1 if axis == 0 else int(shape[axis])
        fixed[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return fixed


def _parse(text: str) -> dict[str, Shape]:
    """Shapes by name from JSON such as {"x": [1, 3, 32, 32]}; anything else gives none."""
    try:
        found = json.loads(text or "{}")
        return {str(name): tuple(int(s) for s in sizes) for name, sizes in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def _shapes(graph: onnx.GraphProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Known shapes, and bytes per element, by the name of the tensor."""
    shapes: dict[str, Shape] = {i.name: tuple(i.dims) for i in graph.initializer}
    widths: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
            widths[value.name] = _width(tensor.elem_type)
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            shapes[node.output[0]] = next((tuple(a.t.dims) for a in node.attribute), ())
    return shapes, widths


def _width(kind: int) -> int:
    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except KeyError:
        return 0


def _reaches(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> dict[str, frozenset[int]]:
    """The numbers of the outputs that need each tensor."""
    integers = _integers(graph)
    order = [i.name for i in (*graph.input, *graph.initializer)]
    routes: dict[str, list[Route[str]]] = {}
    for node in graph.node:
        order += [o for o in node.output if o]
        for name in node.output:
            if name:
                routes[name] = onnx_routes(node, shapes, integers)
    return demand(list(dict.fromkeys(order)), routes, [o.name for o in graph.output])


def _integers(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """The values of constant integer tensors."""
    kinds = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    tensors = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    tensors[node.output[0]] = attribute.t
    found = {}
    for name, tensor in tensors.items():
        if tensor.data_type in kinds and tensor.data_location != onnx.TensorProto.EXTERNAL:
            with suppress(ValueError):  # fewer numbers than its dims say
                values = onnx.numpy_helper.to_array(tensor)
                found[name] = tuple(int(v) for v in values.flatten())
    return found


def _tasks(
    names: Sequence[str], needed: Mapping[str, frozenset[int]], outputs: tuple[str, ...]
) -> tuple[str, ...]:
    found = frozenset[int]().union(*(needed.get(n, frozenset()) for n in names))
    return tuple(outputs[i] for i in sorted(found))


def _name(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _layers(graph: onnx.GraphProto) -> dict[str, str]:
    """A layer for each node: that of its weight, `layer1.conv` of `layer1.conv.weight`.

    A node that reads no weight of a layer belongs to the layer whose result it works on.
    """
    weights = {i.name for i in graph.initializer}
    found = {}
    behind: dict[str, str] = {}
    for node in graph.node:
        owners = [n.rpartition(".")[0] for n in node.input if n in weights and "." in n]
        owners += [behind[n] for n in node.input if n in behind]
        found[_name(node)] = owners[0] if owners else _name(node)
        if owners:
            behind.update(dict.fromkeys(node.output, owners[0]))
    return found


def _node(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], tasks: tuple[str, ...], layer: str
) -> NodeCost:
    rule: Callable[..., int] | None = RULES.get(node.op_type)
    macs: int | None = 0
    if node.domain not in FREE_DOMAINS or node.op_type in UNCOUNTED:
        macs = None
    elif rule is not None:
        try:
            macs = rule(
                [shapes.get(n) if n else None for n in node.input],
                [shapes.get(n) for n in node.output],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
        except UNCOUNTABLE:  # a shape that inference could not find, or a malformed node
            macs = None
    return NodeCost(_name(node), node.op_type, layer, macs, tasks)


def _constants(
    graph: onnx.GraphProto,
    needed: Mapping[str, frozenset[int]],
    outputs: tuple[str, ...],
    layers: Mapping[str, str],
) -> tuple[ConstantCost, ...]:
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, i))
    tensors: list[tuple[str, Any]] = [(i.name, i) for i in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            tensors += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    found = []
    for name, tensor in tensors:
        uses = readers.get(name, [])
        running = bool(uses) and all(i in RUNNING.get(n.op_type, ()) for n, i in uses)
        elements = prod(tensor.dims)
        floating = tensor.data_type in FLOATING
        layer = layers[_name(uses[0][0])] if uses else name
        found.append(
            ConstantCost(
                name,
                layer,
                elements,
                elements * _width(tensor.data_type),
                floating and not running,
                _tasks([name], needed, outputs),
            )
        )
    return tuple(found)


def _peak(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], widths: Mapping[str, int]
) -> int | None:
    """The largest total of values alive at once; None where a shape is not known."""
    values = {i.name for i in graph.input} - {i.name for i in graph.initializer}
    values |= {o for n in graph.node if n.op_type != "Constant" for o in n.output if o}
    if any(v not in shapes or v not in widths for v in values):
        return None
    last = {n: i for i, node in enumerate(graph.node) for n in (*node.input, *node.output)}
    last |= {o.name: len(graph.node) for o in graph.output}
    size = {v: prod(shapes[v]) * widths[v] for v in values}
    alive = {i.name: size[i.name] for i in graph.input if i.name in size}
    peak = held = sum(alive.values())
    for i, node in enumerate(graph.node):
        for name in node.output:
            if name in size and name not in alive:
                alive[name] = size[name]
                held += size[name]
        peak = max(peak, held)
        for name in (*node.input, *node.output, *(alive if i == 0 else ())):
            if name in alive and last.get(name, i) <= i:
                held -= alive.pop(name)
    return peak
