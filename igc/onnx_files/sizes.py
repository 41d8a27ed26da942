"""Shapes of an ONNX graph whose sizes are computed in the graph, once its inputs are fixed.

ONNX's own inference follows sizes through few ops, and gives up on an `Expand` or `Reshape` to a
shape put together from others. Here such small integer tensors are evaluated, and the inference is
run again with their values in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Ints = NDArray[np.int64]
LARGEST = 64  # elements: what describes a shape is smaller
ROUNDS = 8


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that can be known. Raises what onnx raises."""
    found = onnx.shape_inference.infer_shapes(model, data_prop=True)
    missing = _unknown(found.graph)
    for _ in range(ROUNDS):
        known = _evaluated(found.graph) if missing else {}
        if not known:
            return found
        again = onnx.shape_inference.infer_shapes(_with_values(found, known), data_prop=True)
        _keep(found.graph, again.graph)
        before, missing = missing, _unknown(found.graph)
        if missing == before:
            return found
    return found


def _keep(graph: onnx.GraphProto, better: onnx.GraphProto) -> None:
    """Takes over what is known better: shapes of values and of outputs."""
    shapes = {v.name: v for v in graph.value_info} | {v.name: v for v in better.value_info}
    del graph.value_info[:]
    graph.value_info.extend(shapes.values())
    for mine, other in zip(graph.output, better.output, strict=True):
        mine.CopyFrom(other)


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The shapes that are known as numbers."""
    found = {i.name: list(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            found[value.name] = [d.dim_value for d in tensor.shape.dim]
    return found


def _unknown(graph: onnx.GraphProto) -> int:
    """How many tensors have no shape in numbers."""
    known = _shapes(graph)
    made = [o for n in graph.node if n.op_type != "Constant" for o in n.output if o]
    return sum(name not in known for name in made)


def _evaluated(graph: onnx.GraphProto) -> dict[str, Ints]:
    """The values of small integer tensors that follow from shapes and constants."""
    shapes = _shapes(graph)
    known: dict[str, Ints] = {}
    for tensor in graph.initializer:
        _remember(known, tensor.name, tensor)
    made: dict[str, Ints] = {}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and node.output and "value" in attributes:
            _remember(known, node.output[0], attributes["value"])
            continue
        rule = RULES.get(node.op_type)
        try:
            if node.op_type == "Shape":
                first, last = attributes.get("start", 0), attributes.get("end")
                value = np.array(shapes[node.input[0]][first:last], np.int64)
            elif rule is not None:
                value = np.asarray(rule([known[i] for i in node.input if i], attributes))
            else:
                continue
        except (LookupError, ValueError, TypeError, ArithmeticError):
            continue  # an operand is not known, or the node is malformed
        if value.size <= LARGEST and node.output and value.dtype.kind == "i":
            made[node.output[0]] = known[node.output[0]] = value.astype(np.int64)
    return made


def _remember(known: dict[str, Ints], name: str, tensor: onnx.TensorProto) -> None:
    small = int(np.prod(tensor.dims, dtype=object)) <= LARGEST
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if tensor.data_type == onnx.TensorProto.INT64 and small and not outside:
        try:
            known[name] = onnx.numpy_helper.to_array(tensor)
        except ValueError:  # fewer numbers than its dims say
            return


def _with_values(model: onnx.ModelProto, known: Mapping[str, Ints]) -> onnx.ModelProto:
    """A copy in which the nodes that make known tensors are replaced by their values."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = [n for n in made.graph.node if not (len(n.output) == 1 and n.output[0] in known)]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(kept)
    for name, value in known.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return made


def _slice(x: Sequence[Ints], _: Mapping[str, Any]) -> Ints:
    data, starts, ends, *more = x
    axes = more[0] if more else np.arange(len(starts))
    steps = more[1] if len(more) > 1 else np.ones(len(starts), np.int64)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if int(axis) % max(data.ndim, 1) or data.ndim != 1:
            raise ValueError("only vectors are sliced")
        data = data[int(start) : int(end) : int(step)]
    return data


def _axes(x: Sequence[Ints], attributes: Mapping[str, Any]) -> tuple[int, ...]:
    listed = x[1] if len(x) > 1 else attributes.get("axes", ())
    return tuple(int(a) for a in listed)


RULES: dict[str, Callable[[Sequence[Ints], Mapping[str, Any]], Any]] = {
    "Identity": lambda x, _: x[0],
    "Add": lambda x, _: x[0] + x[1],
    "Sub": lambda x, _: x[0] - x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Div": lambda x, _: np.trunc(x[0] / x[1]).astype(np.int64),
    "Mod": lambda x, _: np.mod(x[0], x[1]),
    "Neg": lambda x, _: -x[0],
    "Max": lambda x, _: np.maximum.reduce(x),
    "Min": lambda x, _: np.minimum.reduce(x),
    "Concat": lambda x, a: np.concatenate(x, a["axis"]),
    "Gather": lambda x, a: np.take(x[0], x[1], a.get("axis", 0)),
    "Slice": _slice,
    "Squeeze": lambda x, a: np.squeeze(x[0], _axes(x, a) or None),
    "Unsqueeze": lambda x, a: np.expand_dims(x[0], _axes(x, a)),
    "Reshape": lambda x, _: np.reshape(x[0], x[1]),
    "ReduceProd": lambda x, a: np.prod(x[0], keepdims=bool(a.get("keepdims", 1)), dtype=np.int64),
    "Cast": lambda x, a: x[0] if a["to"] == onnx.TensorProto.INT64 else {}[a["to"]],
}
