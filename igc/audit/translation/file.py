"""Reads an ONNX file: every node as operations on terms. A closed table; the rest is not shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import sympy
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import get_attribute_value

from igc.audit.translation.functions import ONNX, ONNX_ATTRIBUTED
from igc.audit.translation.layers import Layers
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import (
    Known,
    Value,
    require_distinct,
    tidy,
)

Rule: TypeAlias = Callable[["File", "Call"], Any]
END = 2**62
Entry: TypeAlias = tuple[Rule, tuple[str, ...]]  # how it is read, the attributes it may have


@dataclass(frozen=True)
class Sizes:
    """Whole numbers that depend on the sizes of the input: sympy expressions."""

    array: NDArray[Any]


@dataclass(frozen=True)
class Call:
    """A node: its operands (None where left out), its attributes, and its types."""

    node: onnx.NodeProto
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    types: tuple[Any, ...]

    def get(self, name: str, default: Any) -> Any:
        """An attribute; bytes as text."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def operand(self, place: int) -> Any:
        """An operand, None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None


class File:
    """The graph being read; `own` is the network's type, which the file may have another for."""

    def __init__(
        self, algebra: Layers, graph: onnx.GraphProto, inputs: Mapping[str, Value],
        rules: Mapping[str, Entry],
    ) -> None:  # fmt: skip
        self.on, self.graph, self.rules = algebra, graph, rules
        self.values: dict[str, Any] = dict(inputs)
        self.types: dict[str, int] = {
            v.name: v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]
        }
        self.own = next((t for t in self.types.values() if t in FLOATS), onnx.TensorProto.FLOAT)
        for tensor in graph.initializer:
            self.values[tensor.name] = Known(numpy_helper.to_array(tensor))
            self.types[tensor.name] = tensor.data_type

    def read(self) -> None:
        """Every node in order; raises `NotShown` with the node that stops it."""
        for node in self.graph.node:
            where = f"node '{node.name or node.output[0]}' ({node.op_type})"
            try:
                self._read(node)
            except NotShown as why:
                raise NotShown(f"{where}: {why}") from None
            except (
                KeyError,
                TypeError,
                ValueError,
                IndexError,
                AssertionError,
                AttributeError,
            ) as error:
                raise NotShown(f"{where}: it means nothing ({error})") from error

    def _read(self, node: onnx.NodeProto) -> None:
        if node.domain not in ("", "ai.onnx"):
            raise NotShown(f"an operator of '{node.domain}'")
        attributes = {a.name: get_attribute_value(a) for a in node.attribute}
        operands = tuple(self.values[i] if i else None for i in node.input)
        types = tuple(self.types.get(i, 0) for i in node.input)
        call = Call(node, operands, attributes, types)
        if node.op_type in ONNX:
            made = self._plain(call)
        elif node.op_type in ONNX_ATTRIBUTED:
            name, fields = ONNX_ATTRIBUTED[node.op_type]
            only(call, fields)
            given = tuple(told(call.get(k, d)) for k, d in fields.items())
            made = self.on.apply(name, call.inputs[0], attributes=given)
        else:
            rule, names = self.rules.get(node.op_type, (None, ()))
            if rule is None:
                raise NotShown("an operator that igc does not write")
            only(call, names)
            made = rule(self, call)
        many = made if isinstance(made, tuple) else (made,)
        kind = self._type(call)
        for name, value in zip(node.output, many, strict=False):
            if isinstance(value, Value):
                value = tidy(value)
                require_distinct(value)
            self.values[name] = value
            self.types[name] = kind

    def _plain(self, call: Call) -> Any:
        only(call, ())
        name = ONNX[call.node.op_type]
        if all(isinstance(v, Known) for v in call.inputs) and name in ("gt", "lt", "ge", "le"):
            a, b = (v.array for v in call.inputs)
            compare = {"gt": np.greater, "lt": np.less, "ge": np.greater_equal,
                       "le": np.less_equal}[name]  # fmt: skip
            return Known(compare(a, b))
        if any(isinstance(v, Sizes) for v in call.inputs):
            raise NotShown("sizes that are computed with")
        result: Any = call.inputs[0]
        if len(call.inputs) == 1:
            return self.on.apply(name, result)
        for other in call.inputs[1:]:
            result = self.on.apply(name, result, other)
        return result

    def _type(self, call: Call) -> int:
        kind = call.node.op_type
        if kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And",
                    "Or", "Xor", "IsNaN"):  # fmt: skip
            return int(onnx.TensorProto.BOOL)
        if kind in ("Shape", "ArgMax", "ArgMin", "Size"):
            return int(onnx.TensorProto.INT64)
        if kind == "Cast":
            return int(call.get("to", 0))
        return int(call.types[1] if kind == "Where" else call.types[0])

    def value(self, operand: Any) -> Value:
        """An operand with terms."""
        if isinstance(operand, Sizes) or operand is None:
            raise NotShown("a tensor of sizes")
        return self.on.value(operand)


FLOATS = frozenset({
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
})  # fmt: skip


def only(call: Call, names: Any) -> None:
    """No attribute but these: what is not read might do anything."""
    for name in call.attributes:
        if name not in names:
            raise NotShown(f"the attribute '{name}'")


def told(value: Any) -> Any:
    """An attribute as terms have it: text, and numbers in float32."""
    value = value.decode() if isinstance(value, bytes) else value
    return float(np.float32(value)) if isinstance(value, (int, float)) else value


def numbers(operand: Any) -> Any:
    """A constant operand in float64; None where it is left out."""
    if operand is None:
        return None
    if not isinstance(operand, Known):
        raise NotShown("weights that the input makes")
    return operand.numbers


def listed(operand: Any) -> list[Any]:
    """A vector of whole numbers, known or sizes."""
    if isinstance(operand, (Known, Sizes)):
        return [sympy.sympify(v) if isinstance(operand, Sizes) else int(v)
                for v in operand.array.reshape(-1)]  # fmt: skip
    raise NotShown("numbers that the input makes")


def sizes_of(call: Call) -> bool:
    """Whether an operand is made of sizes."""
    return any(isinstance(v, Sizes) for v in call.inputs)
