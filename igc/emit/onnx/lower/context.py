"""What an ONNX lowering rule may ask: operands, dimensions, casts, shapes that may be dynamic."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx

from igc.emit.onnx.lower.graph import OnnxGraph
from igc.program import Program
from igc.program.schema import bind, is_size, operation
from igc.program.shapes import Value, at_points, other_sizes, shapes

Size = int | str  # a number known now, or the name of an int64 tensor of one element
Lowered = str | tuple[str, ...]


ARITHMETIC: dict[Any, str] = {operator.add: "Add", operator.sub: "Sub", operator.mul: "Mul"}


class Unsupported(Exception):
    """This call has no direct ONNX form; the message says why."""


class Lowering:
    """The state of one lowering: the program, what is known of its shapes, the ONNX graph.

    Shapes are evaluated at several sizes, each dynamic size moved on its own: a dimension is
    static where it is the same in all of them, and two are equal where they agree in all.
    """

    def __init__(self, program: Program, graph: OnnxGraph) -> None:
        self.program = program
        self.graph = graph
        self._sizes, self._facts = _evaluated(program)
        self._values: dict[fx.Node, Lowered] = {}
        self._constants: dict[str, str] = {}

    def bind_value(self, node: fx.Node, value: Lowered) -> None:
        """Records which ONNX value a node became."""
        self._values[node] = value

    def outputs_of(self, node: fx.Node) -> Lowered:
        """The ONNX value or values of a node."""
        return self._values[node]

    def __call__(self, node: Any) -> str:
        """The ONNX name of a tensor operand; a constant becomes an initialiser when first read."""
        assert isinstance(node, fx.Node), node
        if node.op == "get_attr":
            return self.constant(str(node.target))
        value = self._values[node]
        assert isinstance(value, str), node
        return value

    def optional(self, node: Any) -> str | None:
        """The same for an operand that may be None."""
        return None if node is None else self(node)

    def constant(self, name: str) -> str:
        """The initialiser for a program constant as it is."""
        if name not in self._constants:
            self._constants[name] = self.graph.tensor(self.program.constants[name], name)
        return self._constants[name]

    def tensor_of(self, node: Any) -> Tensor | None:
        """The value of an operand that is a constant, else None."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.program.constants[str(node.target)]
        return None

    def fact(self, node: Any) -> Value:
        """Shape and dtype of an operand at the example's sizes."""
        assert isinstance(node, fx.Node), node
        return self._facts[0][node]

    def rank(self, node: Any) -> int:
        """The number of dimensions of a tensor operand."""
        return len(self.fact(node).dims)

    def dtype(self, node: Any) -> torch.dtype:
        """The dtype of a tensor operand."""
        dtype = self.fact(node).dtype
        assert dtype is not None
        return dtype

    def axis(self, node: Any, axis: Any) -> int:
        """`axis` counted from the front."""
        rank = max(self.rank(node), 1)
        if not isinstance(axis, int):
            raise Unsupported("axis is not a number")
        return axis % rank

    def static(self, node: Any, axis: int) -> int | None:
        """The size of a dimension where it does not depend on the input sizes."""
        seen = {facts[node].dims[axis] for facts in self._facts}
        return seen.pop() if len(seen) == 1 else None

    def static_shape(self, node: Any) -> tuple[int, ...] | None:
        """The whole shape where it is static."""
        dims = [self.static(node, a) for a in range(self.rank(node))]
        return None if any(d is None for d in dims) else tuple(d for d in dims if d is not None)

    def op(self, kind: str, *inputs: str | None, **attributes: Any) -> str:
        """Adds an ONNX node with one output."""
        return self.graph.op(kind, *inputs, **attributes)

    def scalar(self, value: float | int | bool, dtype: torch.dtype) -> str:
        """A constant without dimensions."""
        return self.graph.tensor(torch.tensor(value, dtype=dtype), "scalar")

    def cast(self, name: str, source: torch.dtype, to: torch.dtype) -> str:
        """`name` in another dtype; the same name where it has that one already."""
        return name if source == to else self.op("Cast", name, to=to)

    def operand(self, value: Any, dtype: torch.dtype) -> str:
        """A tensor operand, size or plain number as an ONNX value of the given dtype."""
        if isinstance(value, fx.Node) and not is_size(value):
            return self.cast(self(value), self.dtype(value), dtype)
        if isinstance(value, fx.Node):
            size = self.size(value)
            if isinstance(size, str):
                flat = self.op("Reshape", size, self.graph.integers([], "scalar_shape"))
                return self.cast(flat, torch.int64, dtype)
            value = size
        return self.scalar(value, dtype)

    def common(self, *operands: Any) -> torch.dtype:
        """The dtype that torch computes in, given these tensors and numbers."""
        samples: list[Any] = []
        for value in operands:
            if isinstance(value, fx.Node) and not is_size(value):
                fact = self.fact(value)
                samples.append(torch.empty((1,) * len(fact.dims), dtype=fact.dtype, device="meta"))
            else:
                samples.append(1 if isinstance(value, fx.Node) else value)
        result = samples[0]
        for other in samples[1:]:
            result = torch.empty(
                (1,) * max(getattr(result, "ndim", 0), getattr(other, "ndim", 0)),
                dtype=torch.result_type(result, other),
                device="meta",
            )
        assert isinstance(result, Tensor)
        return result.dtype

    def size(self, value: Any) -> Size:
        """A dimension: a number where it is static, else the name of a vector of one element."""
        if not isinstance(value, fx.Node):
            return int(value)
        seen = {facts[value].size for facts in self._facts}
        if len(seen) == 1:
            (known,) = seen
            assert known is not None
            return known
        if operation(value) == "aten.sym_size.int":
            args = bind(value)
            return self.dim(args["self"], self.axis(args["self"], args["dim"]))
        return self._compute(value)

    def dim(self, node: Any, axis: int) -> Size:
        """One dimension of a tensor."""
        known = self.static(node, axis)
        if known is not None:
            return known
        return self.op("Shape", self(node), start=axis, end=axis + 1)

    def _compute(self, node: fx.Node) -> str:
        a, *rest = (self._vector(self.size(x)) for x in node.args)
        kind = ARITHMETIC.get(node.target)
        if kind is not None:
            return self.op(kind, a, *rest)
        if node.target is operator.neg:
            return self.op("Neg", a)
        if node.target is operator.mod:
            return self.op("Mod", a, *rest)
        if node.target is operator.floordiv:
            if _lowest(node.args[0]) >= 0:
                return self.op("Div", a, *rest)
            return self.op("Div", self.op("Sub", a, self.op("Mod", a, *rest)), *rest)
        raise Unsupported(f"the size operation {operation(node)}")

    def _vector(self, size: Size) -> str:
        return self.graph.integers([size]) if isinstance(size, int) else size

    def shape(self, entries: Sequence[Any], hint: str = "shape") -> str:
        """An int64 vector with the given entries (numbers or size nodes)."""
        sizes = [self.size(e) for e in entries]
        return self.vector(sizes, hint)

    def vector(self, sizes: Sequence[Size], hint: str = "shape") -> str:
        """An int64 vector of sizes, known or computed."""
        if all(isinstance(s, int) for s in sizes):
            return self.graph.integers([s for s in sizes if isinstance(s, int)], hint)
        pieces: list[str] = []
        run: list[int] = []
        for size in sizes:
            if isinstance(size, int):
                run.append(size)
                continue
            if run:
                pieces.append(self.graph.integers(run))
                run = []
            pieces.append(size)
        if run:
            pieces.append(self.graph.integers(run))
        return pieces[0] if len(pieces) == 1 else self.op("Concat", *pieces, axis=0)

    def reshape(self, source: fx.Node, result: fx.Node, name: str | None = None) -> str:
        """`source` (or the value `name` of the same shape) in the shape of `result`.

        Dimensions copied from the source become 0 and one more unknown -1, so that the shape
        stays a constant wherever ONNX can say it in one.
        """
        value = self(source) if name is None else name
        targets = [f[result].dims for f in self._facts]
        sources = [f[source].dims for f in self._facts]
        if 0 in targets[0]:
            raise Unsupported("an empty tensor is reshaped")
        entries: list[int | None] = []
        for axis in range(len(targets[0])):
            seen = {t[axis] for t in targets}
            if len(seen) == 1:
                entries.append(seen.pop())
            elif axis < len(sources[0]) and all(
                t[axis] == s[axis] for t, s in zip(targets, sources, strict=True)
            ):
                entries.append(0)
            else:
                entries.append(None)
        if entries.count(None) <= 1:
            wanted = self.graph.integers([-1 if e is None else e for e in entries], "shape")
            return self.op("Reshape", value, wanted)
        return self.op("Reshape", value, self._asked(result))

    def _asked(self, result: fx.Node) -> str:
        """The shape that a view call asks for, where it takes more than a constant."""
        args = bind(result)
        wanted = args.get("size", args.get("shape"))
        if wanted is None:
            raise Unsupported("several sizes change at once")
        return self.shape(wanted)

    def column(self, vector: fx.Node, behind: int) -> str:
        """A per-channel vector with one axis of size 1 for each axis behind the channels."""
        if not behind:
            return self(vector)
        constant = self.tensor_of(vector)
        shape = [self.fact(vector).dims[0]] + [1] * behind
        if constant is not None:
            return self.graph.tensor(constant.reshape(shape), f"{vector.target}_column")
        return self.op("Reshape", self(vector), self.graph.integers(shape))

    def dims(self, node: fx.Node, names: Mapping[str, str]) -> list[int | str | None]:
        """The dimensions of a tensor: numbers, names of the input sizes they equal, or None."""
        found: list[int | str | None] = []
        for axis in range(self.rank(node)):
            seen = [facts[node].dims[axis] for facts in self._facts]
            same = [names[s] for s in names if [sizes[s] for sizes in self._sizes] == seen]
            found.append(seen[0] if len(set(seen)) == 1 else same[0] if len(same) == 1 else None)
        return found

    def shape_of(self, node: fx.Node) -> str:
        """The shape of a tensor, constant where it is static."""
        known = self.static_shape(node)
        return self.graph.integers(known, "shape") if known else self.op("Shape", self(node))


Rule = Callable[[Lowering, fx.Node], Lowered]


def per_axis(value: Any, count: int) -> list[int]:
    """One number per spatial axis."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(v, int) for v in entries):
        raise Unsupported("an argument depends on the input size")
    return entries * count if len(entries) == 1 else entries


def _evaluated(
    program: Program,
) -> tuple[list[dict[str, int]], list[dict[fx.Node, Value]]]:
    """The shapes at the example's sizes, at others, and with each dynamic size moved alone."""
    found, moved = at_points(program), other_sizes(program)
    for name in program.sizes:
        point = {**program.sizes, name: moved[name]}
        with suppress(RuntimeError, ValueError):  # not valid alone: sizes are tied to each other
            found.append((point, shapes(program, point)))
    return [point for point, _ in found], [facts for _, facts in found]


def _lowest(value: Any) -> int:
    """A lower bound of a size expression, given that every dimension is at least 1."""
    if not isinstance(value, fx.Node):
        return int(value)
    if operation(value) == "aten.sym_size.int":
        return 1
    bounds = [_lowest(a) for a in value.args]
    combine: dict[Callable[..., Any], Callable[..., int]] = {
        operator.add: lambda a, b: a + b,
        operator.mul: lambda a, b: a * b if min(a, b) >= 0 else -(2**31),
        operator.floordiv: lambda a, b: 0 if min(a, b) >= 0 else -(2**31),
        operator.mod: lambda a, b: 0 if b > 0 else -(2**31),
    }
    rule = combine.get(value.target)  # type: ignore[arg-type]  # a call_function target
    return rule(*bounds) if rule is not None else -(2**31)
