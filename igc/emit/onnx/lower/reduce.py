"""ONNX for operations over whole axes: reductions, variances, norms, softmax, running sums."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowered, Lowering, Rule, Size, Unsupported
from igc.program.schema import bind

REDUCTIONS = {
    "mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin",
    "prod": "ReduceProd", "logsumexp": "ReduceLogSumExp", "max": "ReduceMax", "min": "ReduceMin",
}  # fmt: skip


NORMS = {1.0: "ReduceL1", 2.0: "ReduceL2"}


def _axes(at: Lowering, value: fx.Node, dim: Any) -> list[int]:
    asked = [dim] if isinstance(dim, int) else list(dim or range(at.rank(value)))
    return sorted(at.axis(value, d) for d in asked)


def _reduce(name: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> Lowered:
        args, value = bind(node), bind(node)["self"]
        many = at.fact(node).many
        dtype = many[0].dtype if many else at.dtype(node)
        assert dtype is not None
        axes = at.graph.integers(_axes(at, value, args.get("dim")), "axes")
        keep = int(args.get("keepdim", False))
        if not at.rank(value):
            return at.operand(value, dtype)
        result = at.op(REDUCTIONS[name], at.operand(value, dtype), axes, keepdims=keep)
        if not many:
            return result
        place = {"max": "ArgMax", "min": "ArgMin"}[name]
        return result, at.op(place, at(value), axis=at.axis(value, args["dim"]), keepdims=keep)

    return rule


def _bessel(at: Lowering, lengths: list[Size], correction: float, dtype: torch.dtype) -> str:
    """n / (n - correction) for n entries, known or computed from the lengths of their axes."""
    known = [n for n in lengths if isinstance(n, int)]
    if len(known) == len(lengths):
        count = math.prod(known)
        if count <= correction:
            raise Unsupported("a variance of too few entries")
        return at.scalar(count / (count - correction), dtype)
    product = at.op("ReduceProd", at.vector(lengths), keepdims=0)
    number = at.cast(product, torch.int64, dtype)
    return at.op("Div", number, at.op("Sub", number, at.scalar(correction, dtype)))


def _spread_of(root: bool) -> Rule:
    """Variance or standard deviation."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args, value = bind(node), bind(node)["self"]
        axes = _axes(at, value, args.get("dim"))
        correction = args.get("correction", int(args.get("unbiased", True)))
        correction = 1 if correction is None else correction
        where, dtype = at.graph.integers(axes, "axes"), at.dtype(node)
        centred = at.op("Sub", at(value), at.op("ReduceMean", at(value), where, keepdims=1))
        keep = int(args.get("keepdim", False))
        mean = at.op("ReduceMean", at.op("Mul", centred, centred), where, keepdims=keep)
        result = at.op(
            "Mul", mean, _bessel(at, [at.dim(value, a) for a in axes], correction, dtype)
        )
        return at.op("Sqrt", result) if root else result

    return rule


def _logical(kind: str) -> Rule:
    """any and all: the maximum and minimum of zeros and ones."""

    def rule(at: Lowering, node: fx.Node) -> str:
        args, value = bind(node), bind(node)["self"]
        bits = at.op("Cast", at.operand(value, torch.bool), to=torch.int32)
        axes = at.graph.integers(_axes(at, value, args.get("dim")), "axes")
        found = at.op(kind, bits, axes, keepdims=int(args.get("keepdim", False)))
        return at.op("Cast", found, to=torch.bool)

    return rule


def _vector_norm(at: Lowering, node: fx.Node) -> str:
    args, value = bind(node), bind(node)["self"]
    order, dtype = float(args["ord"]), at.dtype(node)
    axes, keep = at.graph.integers(_axes(at, value, args["dim"]), "axes"), int(args["keepdim"])
    operand = at.operand(value, dtype)
    if order in NORMS:
        return at.op(NORMS[order], operand, axes, keepdims=keep)
    size = at.op("Abs", operand)
    if math.isinf(order):
        return at.op("ReduceMax" if order > 0 else "ReduceMin", size, axes, keepdims=keep)
    if order == 0:
        raise Unsupported("the norm of order 0")
    powers = at.op("Pow", size, at.scalar(order, dtype))
    total = at.op("ReduceSum", powers, axes, keepdims=keep)
    return at.op("Pow", total, at.scalar(1 / order, dtype))


def _arg(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        if args["dim"] is None:
            flat = at.op("Reshape", at(args["self"]), at.graph.integers([-1], "shape"))
            place = at.op(kind, flat, axis=0, keepdims=0)
            shape = at.graph.integers([1] * at.rank(node), "shape")
            return at.op("Reshape", place, shape) if at.rank(node) else place
        axis = at.axis(args["self"], args["dim"])
        return at.op(kind, at(args["self"]), axis=axis, keepdims=int(args["keepdim"]))

    return rule


def _softmax(kind: str) -> Rule:
    def rule(at: Lowering, node: fx.Node) -> str:
        args = bind(node)
        axis = at.axis(args["self"], args["dim"])
        return at.op(kind, at.operand(args["self"], at.dtype(node)), axis=axis)

    return rule


def _cumsum(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = torch.tensor(at.axis(args["self"], args["dim"]), dtype=torch.int64)
    return at.op("CumSum", at.operand(args["self"], at.dtype(node)), at.graph.tensor(axis, "axis"))


def _nonzero_count(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    truth = at.op("Cast", at.operand(args["self"], torch.bool), to=torch.int64)
    axes = at.graph.integers(_axes(at, args["self"], args["dim"]), "axes")
    return at.op("ReduceSum", truth, axes, keepdims=0)


RULES: dict[str, Rule] = {
    **{name: _reduce(name) for name in REDUCTIONS},
    "linalg_vector_norm": _vector_norm,
    "std": _spread_of(root=True),
    "var": _spread_of(root=False),
    "any": _logical("ReduceMax"),
    "all": _logical("ReduceMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "softmax": _softmax("Softmax"),
    "_softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "_log_softmax": _softmax("LogSoftmax"),
    "cumsum": _cumsum,
    "count_nonzero": _nonzero_count,
}
