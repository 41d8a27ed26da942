"""Sums with constant coefficients: gates, mixes, masks and plain additions.

Every idiom in which a gate can be written comes down to a `Select`:

    g*a + (1-g)*b    where(m, a, b)    lerp(b, a, g)    b + m*(a - b)    masked_fill(a, m, 0) + ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from igc.ops.facts import Facts, Rule
from igc.ops.pointwise import pointwise, written
from igc.ops.relations import Pointwise, Select, Term
from igc.program.dtypes import narrower
from igc.program.schema import argument, bind

Number = Tensor | float


def _value(operand: Any, facts: Facts) -> Number | None:
    """The value of a constant operand: a number, or a float64 tensor."""
    if isinstance(operand, (bool, int, float)):
        return float(operand)
    constant = facts.constant(operand)
    return None if constant is None else constant.detach().double()


def combination(
    node: fx.Node,
    facts: Facts,
    parts: Sequence[tuple[Any, Number]],
    shift: Number = 0.0,
    annihilates: bool = False,
) -> Select | Pointwise:
    """`shift + sum of coefficient * operand` as a `Select`, where its conditions hold.

    They are: operands have the output's shape and dtype, and all coefficients vary along at most
    one axis; in a type that rounds more than the program's (autocast), they are 0, 1 or -1 and
    nothing constant is added, as sums written anew would round elsewhere. Otherwise the op stays
    the `Pointwise` it was written as.
    """
    plain = written(node, facts, annihilates=annihilates)
    out, dtype = facts.shape(node), facts.at[node].dtype
    if dtype is None or not dtype.is_floating_point or not out:
        return plain
    total: Number = shift
    terms: list[tuple[fx.Node, Number]] = []
    for operand, coefficient in parts:
        value = _value(operand, facts)
        if value is not None:
            total = total + _times(coefficient, value)
        elif (
            not isinstance(operand, fx.Node)
            or facts.at[operand].shape != out
            or facts.at[operand].dtype != dtype
        ):
            return plain
        else:
            terms.append((operand, coefficient))
    if not terms:
        return plain
    if narrower(dtype, facts.program.dtype) and not all(
        _exact(number) for number in (total, *(c for _, c in terms))
    ):
        return plain
    numbers = (total, *(c for _, c in terms))
    axes = {a for number in numbers for a in _varying(number, out)}
    if len(axes) > 1:
        return replace(plain, zeros=_zeros(numbers, out, axes))
    if any(facts.dynamic(node)[a] for a in axes):
        return plain
    axis = next(iter(axes), None)
    arrays = [_along(c, axis, out) for _, c in terms]
    return Select(
        axis,
        tuple(Term(n, a) for (n, _), a in zip(terms, arrays, strict=True)),
        _along(total, axis, out),
        plain,
    )


def _exact(number: Number) -> bool:
    """Whether multiplying by it never rounds: it holds 0, 1 and -1 only."""
    value = torch.as_tensor(number)
    return bool(((value == 0) | (value.abs() == 1)).all())


def _times(a: Number, b: Number) -> Number:
    """A product in which a zero wins over anything: a masked value is never read."""
    if isinstance(a, float) and isinstance(b, float):
        return 0.0 if 0.0 in (a, b) else a * b
    x, y = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return torch.where((x == 0) | (y == 0), torch.zeros((), dtype=torch.float64), x * y)


def _varying(number: Number, out: tuple[int, ...]) -> list[int]:
    if isinstance(number, float):
        return []
    offset = len(out) - number.ndim
    return [
        axis + offset
        for axis, size in enumerate(number.shape)
        if size > 1 and not bool((number == number.narrow(axis, 0, 1)).all())
    ]


def _zeros(
    numbers: Sequence[Number], out: tuple[int, ...], axes: set[int]
) -> tuple[tuple[int, NDArray[np.bool_]], ...]:
    """The channels of each axis in which every one of these numbers is zero."""
    found = []
    for axis in sorted(axes):
        zero = np.ones(out[axis], dtype=bool)
        for number in numbers:
            value = torch.as_tensor(number)
            value = value[(None,) * (len(out) - value.ndim)]
            zero &= (value == 0).movedim(axis, 0).reshape(value.shape[axis], -1).all(dim=1).numpy()
        found.append((axis, zero))
    return tuple(found)


def _along(number: Number, axis: int | None, out: tuple[int, ...]) -> NDArray[np.float64]:
    size = 1 if axis is None else out[axis]
    if isinstance(number, float):
        return np.full(size, number)
    offset = len(out) - number.ndim
    for a in range(number.ndim):
        if a + offset != axis:
            number = number.narrow(a, 0, 1)
    flat: NDArray[np.float64] = number.reshape(-1).numpy()
    return np.array(np.broadcast_to(flat, (size,)))


def add(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """add(a, b, alpha) = a + alpha * b."""
    a = bind(node)
    return combination(node, facts, [(a["self"], 1.0), (a["other"], float(a["alpha"]))])


def sub(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """sub(a, b, alpha) = a - alpha * b."""
    a = bind(node)
    return combination(node, facts, [(a["self"], 1.0), (a["other"], -float(a["alpha"]))])


def rsub(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """rsub(a, b, alpha) = b - alpha * a."""
    a = bind(node)
    return combination(node, facts, [(a["self"], -float(a["alpha"])), (a["other"], 1.0)])


def neg(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """-a."""
    return combination(node, facts, [(argument(node, "self"), -1.0)])


def mul(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """a * b where one of them is constant; otherwise a plain product."""
    a, b = argument(node, "self"), argument(node, "other")
    for operand, other in ((a, b), (b, a)):
        value = _value(other, facts)
        if value is not None:
            return combination(node, facts, [(operand, value)], annihilates=True)
    return written(node, facts, annihilates=True)


def div(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """a / b for a constant b without zeros; otherwise a plain quotient, or a rounded one."""
    a = bind(node)
    value = _value(a["other"], facts)
    if value is None or a.get("rounding_mode") is not None:
        return written(node, facts)
    if not bool((torch.as_tensor(value) != 0).all()):
        return written(node, facts)
    return combination(node, facts, [(a["self"], 1.0 / value)])


def where(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """where(mask, a, b) for a constant mask: the gate itself."""
    a = bind(node)
    mask = _value(a["condition"], facts)
    if not isinstance(mask, Tensor):
        return written(node, facts)
    return combination(node, facts, [(a["self"], mask), (a["other"], 1.0 - mask)])


def lerp(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """lerp(a, b, w) = (1-w)*a + w*b for a constant w."""
    a = bind(node)
    weight = _value(a["weight"], facts)
    if weight is None:
        return written(node, facts)
    return combination(node, facts, [(a["self"], 1.0 - weight), (a["end"], weight)])


def masked_fill(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """masked_fill(a, mask, value) for a constant mask and value."""
    a = bind(node)
    mask, value = _value(a["mask"], facts), _value(a["value"], facts)
    if not isinstance(mask, Tensor) or value is None:
        return written(node, facts)
    return combination(node, facts, [(a["self"], 1.0 - mask)], shift=_times(mask, value))


def addcmul(node: fx.Node, facts: Facts) -> Select | Pointwise:
    """addcmul(a, b, c, value) = a + value * b * c where b or c is constant."""
    a = bind(node)
    scale, b, c = float(a["value"]), a["tensor1"], a["tensor2"]
    for operand, other in ((b, c), (c, b)):
        value = _value(other, facts)
        if value is not None:
            return combination(node, facts, [(a["self"], 1.0), (operand, value * scale)])
    return written(node, facts)


def _each(rule: Rule, name: str, *overloads: str) -> dict[str, Rule]:
    return {f"aten.{name}.{overload}": rule for overload in overloads}


RULES: dict[str, Rule] = {
    **_each(add, "add", "Tensor", "Scalar"),
    **_each(sub, "sub", "Tensor", "Scalar"),
    **_each(rsub, "rsub", "Tensor", "Scalar"),
    **_each(neg, "neg", "default"),
    **_each(mul, "mul", "Tensor", "Scalar"),
    **_each(div, "div", "Tensor", "Scalar", "Tensor_mode", "Scalar_mode"),
    **_each(where, "where", "self", "ScalarSelf", "ScalarOther", "Scalar"),
    **_each(lerp, "lerp", "Scalar", "Tensor"),
    **_each(addcmul, "addcmul", "default"),
    **_each(pointwise, "addcdiv", "default"),
    **_each(masked_fill, "masked_fill", "Scalar", "Tensor"),
}
