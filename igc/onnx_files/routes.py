"""How ONNX ops pass demand on to their inputs: the counterpart of `igc.analysis.routes`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import onnx

from igc.analysis.demand import Route

Shape = tuple[int, ...]
LONGEST = 1 << 20  # of the axes along which single positions are followed

_ELEMENTWISE = """Relu Sigmoid Tanh Clip LeakyRelu PRelu Elu Selu Gelu Erf HardSwish HardSigmoid
    Mish Softplus Softsign ThresholdedRelu Celu Identity Cast Neg Abs Exp Log Sqrt Reciprocal Pow
    Add Sub Mul Div Min Max Where Not And Or Equal Greater Less Dropout BatchNormalization"""
_POOLS = """MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool Resize
    InstanceNormalization"""
_REDUCTIONS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL2"

ELEMENTWISE, POOLS, REDUCTIONS = (
    frozenset(names.split()) for names in (_ELEMENTWISE, _POOLS, _REDUCTIONS)
)


def onnx_routes(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], integers: Mapping[str, tuple[int, ...]]
) -> list[Route[str]]:
    """A route to every input; a bare one wherever the op does more than move channels.

    `integers` are the values of constant integer tensors (indices, axes, starts).
    """
    inputs = [name for name in node.input if name]
    known = all(n in shapes for n in (*inputs[:1], *node.output[:1])) and bool(node.output)
    special: list[Route[str]] = []
    if known and inputs and max(shapes[inputs[0]], default=0) <= LONGEST:
        with suppress(KeyError, IndexError, ValueError, TypeError, ZeroDivisionError):
            special = _special(node, inputs, shapes, integers)  # a malformed node moves anything
    reached = {route.operand for route in special}
    return special + [Route(n) for n in inputs if n not in reached]


def _special(
    node: onnx.NodeProto,
    inputs: list[str],
    shapes: Mapping[str, Shape],
    integers: Mapping[str, tuple[int, ...]],
) -> list[Route[str]]:
    shape, result = shapes[inputs[0]], shapes[node.output[0]]
    rank = len(shape)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kind = node.op_type
    if kind in ELEMENTWISE:
        every = tuple(range(len(result)))
        return [Route(n, every) for n in inputs if shapes.get(n) == result]
    if kind == "GridSample":
        follow = (0, *[None] * (rank - 1))
        return [Route(inputs[0], (0, 1, *follow[2:])), Route(inputs[1], follow)]
    if kind in POOLS:
        return [Route(inputs[0], (0, 1, *[None] * (rank - 2)))]
    if kind == "Transpose":
        order = list(attributes.get("perm", reversed(range(rank))))
        return [Route(inputs[0], tuple(order.index(axis) for axis in range(rank)))]
    if kind == "Concat" and all(n in shapes for n in inputs):
        return _concat(inputs, int(attributes["axis"]) % rank, shapes)
    if kind == "Gather" and len(shapes.get(inputs[1], ())) == 1 and inputs[1] in integers:
        axis = int(attributes.get("axis", 0)) % rank
        index = tuple(i % shape[axis] for i in integers[inputs[1]])
        return [Route(inputs[0], (), axis, axis, index)]
    if kind == "Slice":
        return _slice(inputs, shape, integers)
    if kind in REDUCTIONS and attributes.get("keepdims", 1):
        listed: Any = attributes.get("axes") or (integers.get(inputs[1]) if inputs[1:] else None)
        gone = {int(a) % rank for a in listed} if listed else set(range(rank))
        return [Route(inputs[0], tuple(None if a in gone else a for a in range(rank)))]
    return []


def _concat(inputs: list[str], axis: int, shapes: Mapping[str, Shape]) -> list[Route[str]]:
    routes: list[Route[str]] = []
    total, start = sum(shapes[n][axis] for n in inputs), 0
    if total > LONGEST:
        return []
    for name in inputs:
        size = shapes[name][axis]
        routes.append(Route(name, (), axis, axis, range(size), piece=True, start=start))
        start += size
    return routes


def _slice(
    inputs: list[str], shape: Shape, integers: Mapping[str, tuple[int, ...]]
) -> list[Route[str]]:
    found = [integers.get(n) for n in inputs[1:]]
    if len(found) < 3 or any(v is None or len(v) != 1 for v in found):
        return []
    starts, ends, axes = (int(v[0]) for v in found[:3] if v)
    step = int(found[3][0]) if len(found) > 3 and found[3] else 1
    axis = axes % len(shape)
    end: int | None = ends if step > 0 or ends >= -shape[axis] else None
    return [Route(inputs[0], (), axis, axis, tuple(range(shape[axis])[slice(starts, end, step)]))]
