"""Reads the gated network: every call of its program as operations on terms.

Gates are evaluated as they are: what depends on constants alone is computed in float64, decisions
in the network's own precision. What a channel is computed from follows from that alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import sympy
import torch
from torch import Tensor, fx

from igc.audit.translation.functions import ATTRIBUTED, PLAIN
from igc.audit.translation.layers import Layers
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import (
    Axis,
    Dim,
    Few,
    Known,
    Value,
    axis_of,
    quotient,
    require_distinct,
    tidy,
)
from igc.program import Program
from igc.program.decisions import decides, decisions, snapped
from igc.program.dtypes import cast_to, narrower, retyped
from igc.program.nodes import layer_of, mapped
from igc.program.schema import bind, is_size, op_name, operation
from igc.program.shapes import shapes

Rule: TypeAlias = Callable[["Gated", fx.Node, dict[str, Any]], Any]
SIZES: dict[Any, Callable[..., Any]] = {
    operator.add: operator.add, operator.sub: operator.sub, operator.mul: operator.mul,
    operator.floordiv: quotient, operator.neg: operator.neg,
    operator.mod: lambda a, b: sympy.Mod(a, b),
}  # fmt: skip


def symbol(name: str) -> Any:
    """A dynamic size."""
    return sympy.Symbol(name, integer=True, positive=True)


def input_values(algebra: Layers, program: Program) -> list[Value]:
    """The inputs: a term for each channel, which is axis 1, or the last one of lines of tokens."""
    made = []
    for number, (spec, node) in enumerate(zip(program.inputs, program.placeholders, strict=True)):
        rank = len(spec.dims)
        windows = any(op_name(u).startswith(("conv", "batch_norm")) for u in node.users)
        channel = 1 if rank > 3 or (rank == 3 and windows) else rank - 1
        axes: list[Axis] = []
        for a, size in enumerate(spec.dims):
            whole = sympy.Integer(size) if isinstance(size, int) else symbol(size)
            many = rank > 1 and a == channel and spec.dtype.is_floating_point
            if many and isinstance(size, int):
                axes.append((Few(size),))
            else:
                axes.append(axis_of(("input", number, a), whole))
        labels = {f.label for axis in axes for f in axis if isinstance(f, Dim) and f.size != 1}
        count = next((f.size for axis in axes for f in axis if isinstance(f, Few)), 1)
        ids = [algebra.store.call(("input", number, c), (), labels) for c in range(count)]
        shape = (count,) if any(isinstance(f, Few) for axis in axes for f in axis) else ()
        made.append(tidy(Value(tuple(axes), np.array(ids, dtype=np.int64).reshape(shape))))
    return made


class Gated:
    """The gated network being read."""

    def __init__(
        self, algebra: Layers, program: Program, rules: Mapping[str, Rule], wider: bool = False
    ) -> None:
        """`wider`: the file computes in a type that rounds less than the network's own."""
        self.wider = wider
        self.on, self.source, self.rules = algebra, program, rules
        self.program = decisions(program).program
        self.kinds = shapes(self.program)
        self.known: dict[fx.Node, tuple[Any, bool]] = {}
        self.values: dict[fx.Node, Any] = {}

    def outputs(self) -> list[Value]:
        """The outputs in the program's order; raises `NotShown` with the layer that stops it."""
        feed = iter(input_values(self.on, self.source))
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(feed)
            elif node.op == "get_attr":
                name = str(node.target)
                value = cast_to(self.program.constants[name].detach(), torch.float64)
                self.known[node] = (value, name not in self.source.constants)
            elif node.op == "call_function":
                self._read(node)
        return [self.on.value(self.operand(n)) for n in self.program.output_nodes]

    def _read(self, node: fx.Node) -> None:
        if all(n in self.known for n in node.all_input_nodes) and not is_size(node):
            self._evaluate(node)
            return
        try:
            made = self._size(node) if is_size(node) else self._value(node)
            self.values[node] = made
            if isinstance(made, Value):
                require_distinct(made)
        except NotShown as why:
            raise NotShown(f"layer '{layer_of(node)}': {operation(node)}: {why}") from None

    def _evaluate(self, node: fx.Node) -> None:
        args, kwargs = retyped(
            mapped((node.args, node.kwargs), lambda n: self.known[n][0]), torch.float64
        )
        value = cast("Callable[..., Any]", node.target)(*args, **kwargs)
        own = self.kinds[node].dtype
        if isinstance(value, Tensor) and not self.wider and narrower(own, self.source.dtype):
            value = value.to(own).double()  # a part that the author computes in a narrower type
        hard = decides(node) or any(self.known[n][1] for n in node.all_input_nodes)
        self.known[node] = (snapped(value) if hard and isinstance(value, Tensor) else value, hard)

    def _size(self, node: fx.Node) -> Any:
        if node.target in SIZES:
            return SIZES[node.target](*map(self.size, node.args))
        args = bind(node)
        if op_name(node) == "sym_size":
            value = self.operand(args["self"])
            axis = args["dim"]
            return value.size(axis % len(value.axes)) if isinstance(value, Value) else (
                value.array.shape[axis])  # fmt: skip
        raise NotShown("this size")

    def _value(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        name = op_name(node)
        args = bind(node)
        if name in PLAIN:
            return self.on.apply(PLAIN[name], *(self.operand(args[k]) for k in args
                                                if k in ("self", "input", "other")))  # fmt: skip
        if name in ATTRIBUTED:
            op, fields = ATTRIBUTED[name]
            numbers = tuple(told(args[f]) if isinstance(f, str) else f for f in fields)
            return self.on.apply(op, self.operand(args["self"]), attributes=numbers)
        rule = self.rules.get(name)
        if rule is None:
            raise NotShown("an operation that the proof does not know")
        return rule(self, node, args)

    def operand(self, value: Any) -> Any:
        """A tensor operand or a number."""
        if isinstance(value, fx.Node):
            if value in self.known:
                tensor = self.known[value][0]
                return Known(tensor.detach().numpy()) if isinstance(tensor, Tensor) else tensor
            found = self.values[value]
            if isinstance(found, (Value, Known, tuple)):
                return found
            raise NotShown("a size that is computed with")
        if isinstance(value, (int, float, bool)):
            return Known(np.asarray(value, dtype=np.float64))
        raise NotShown("an operand that is no tensor")

    def tensor(self, value: Any) -> Value:
        """An operand that is no constant."""
        return self.on.value(self.operand(value))

    def numbers(self, value: Any) -> Any:
        """A constant operand as float64; None for None."""
        if value is None:
            return None
        found = self.operand(value)
        if not isinstance(found, Known):
            raise NotShown("weights that the input makes")
        return found.numbers

    def size(self, value: Any) -> Any:
        """A size, a number or what one is computed to."""
        return self.values[value] if isinstance(value, fx.Node) else value

    def integer(self, value: Any) -> int:
        """A size that has to be a number."""
        found = sympy.sympify(self.size(value))
        if not found.is_Integer:
            raise NotShown("a size that depends on the input")
        return int(found)


def told(value: Any) -> Any:
    """An argument as terms have it: numbers in float32, in which ONNX has its attributes."""
    return float(np.float32(value)) if isinstance(value, (int, float)) else value


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(entries * count if len(entries) == 1 else entries)
