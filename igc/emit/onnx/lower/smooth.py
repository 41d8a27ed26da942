"""ONNX for anti-aliased resizing where `Resize` does not do: as a product with a matrix per axis.

An entry of the result is a weighted sum of those near its centre, as Pillow and torch have it.
ONNX's `Resize` has none with aligned corners, and is not trusted with widths that are not known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from igc.emit.onnx.lower.context import Lowering, Size
from igc.program.schema import bind

SUPPORT = {"linear": 1.0, "cubic": 2.0}  # how far the filter reaches, in entries


def smoothed(at: Lowering, node: fx.Node, mode: str) -> str:
    """An anti-aliased resize of images [N, C, H, W], whatever their sizes."""
    args, dtype = bind(node), at.dtype(node)
    value, scales, wanted = args["input"], args["scale_factors"], args["output_size"]
    result = at(value)
    for axis in (3, 2):
        scale = None if scales is None else scales[axis - 2]
        size = at.dim(value, axis)
        matrix = _Axis(at, dtype, mode, bool(args["align_corners"])).matrix(
            size, _length(at, size, scale) if wanted is None else at.size(wanted[axis - 2]), scale
        )
        if axis == 3:
            result = at.op("MatMul", result, at.op("Transpose", matrix, perm=[1, 0]))
        else:
            result = at.op("MatMul", matrix, result)
    return result


def _length(at: Lowering, size: Size, scale: Any) -> str:
    """floor(size * scale), as torch has it in double."""
    whole = at.cast(at.vector([size]), torch.int64, torch.float64)
    product = at.op("Mul", whole, at.scalar(float(scale), torch.float64))
    return at.cast(at.op("Floor", product), torch.float64, torch.int64)


class _Axis:
    """The weights of one axis."""

    def __init__(self, at: Lowering, dtype: torch.dtype, mode: str, aligned: bool) -> None:
        self.at, self.dtype, self.mode, self.aligned = at, dtype, mode, aligned

    def number(self, value: float) -> str:
        return self.at.scalar(value, self.dtype)

    def matrix(self, size: Size, length: Size, scale: Any) -> str:
        """One row for each entry of the result, one column for each of the operand."""
        at, op, number = self.at, self.at.op, self.number
        flat, behind = at.graph.integers([], "scalar_shape"), at.graph.integers([-1], "axes")
        before, after = (op("Reshape", at.vector([n]), flat) for n in (size, length))
        step = self._step(before, after, scale)
        wide = op("Max", step, number(1.0))  # the filter is as wide as what it makes smaller
        support = op("Mul", wide, number(SUPPORT[self.mode]))
        rows, columns = (
            at.cast(op("Range", at.scalar(0, torch.int64), n, at.scalar(1, torch.int64)),
                    torch.int64, self.dtype)
            for n in (after, before)
        )  # fmt: skip
        half = number(0.5)
        centre = op("Unsqueeze", op("Mul", step, op("Add", rows, half)), behind)
        first = op("Floor", op("Add", op("Sub", centre, support), half))
        last = op("Floor", op("Add", op("Add", centre, support), half))
        within = op("And", op("GreaterOrEqual", columns, first), op("Less", columns, last))
        away = op("Abs", op("Div", op("Add", op("Sub", columns, centre), half), wide))
        weight = op("Where", within, self._filter(away), number(0.0))
        return op("Div", weight, op("ReduceSum", weight, behind, keepdims=1))

    def _step(self, before: str, after: str, scale: Any) -> str:
        """How many entries of the operand one of the result stands for."""
        op = self.at.op
        if scale is not None and not self.aligned:
            return self.number(1.0 / float(scale))
        lengths = [self.at.cast(n, torch.int64, self.dtype) for n in (before, after)]
        if not self.aligned:
            return op("Div", *lengths)
        one = self.number(1.0)
        less = [op("Sub", n, one) for n in lengths]
        quotient = op("Div", less[0], op("Max", less[1], one))
        return op("Where", op("Greater", lengths[1], one), quotient, self.number(0.0))

    def _filter(self, away: str) -> str:
        """The weight of an entry so far from the centre, in widths of the filter."""
        op, number = self.at.op, self.number
        if self.mode == "linear":
            return op("Max", op("Sub", number(1.0), away), number(0.0))
        near = self._polynomial(away, (1.5, -2.5, 0.0, 1.0))
        far = self._polynomial(away, (-0.5, 2.5, -4.0, 2.0))
        beyond = op("Where", op("Less", away, number(2.0)), far, number(0.0))
        return op("Where", op("Less", away, number(1.0)), near, beyond)

    def _polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        total = self.number(coefficients[0])
        for each in coefficients[1:]:
            total = self.at.op("Add", self.at.op("Mul", total, x), self.number(each))
        return total
