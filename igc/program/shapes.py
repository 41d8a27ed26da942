"""Shapes and dtypes of every value, found by running the program on meta tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from igc.program.execute import execute
from igc.program.program import Program


@dataclass(frozen=True)
class Value:
    """What is known of a node's value: shape and dtype; a size (an int) has `shape=None`."""

    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    size: int | None = None
    many: tuple[Value, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a tensor value."""
        assert self.shape is not None
        return self.shape


def _value(value: Any) -> Value:
    if isinstance(value, Tensor):
        return Value(tuple(value.shape), value.dtype)
    if isinstance(value, (tuple, list)):
        return Value(None, None, many=tuple(_value(v) for v in value))
    return Value(None, None, size=int(value) if isinstance(value, (int, bool)) else None)


def shapes(program: Program, sizes: dict[str, int] | None = None) -> dict[fx.Node, Value]:
    """The `Value` of every node, with the dynamic sizes at `sizes` (default: the example's)."""
    at = program.sizes if sizes is None else sizes
    facts: dict[fx.Node, Value] = {}
    inputs = [torch.empty(s.shape(at), dtype=s.dtype, device="meta") for s in program.inputs]
    execute(program, inputs, device="meta", visit=lambda n, v: facts.__setitem__(n, _value(v)))
    return facts


def other_sizes(program: Program) -> dict[str, int]:
    """Dynamic sizes that differ from the example's, each in its own way: a second point to check.

    No two sizes that are equal in the example stay equal, so a size seen at both points is told
    from all others. Image-like sizes become odd where the program is known to run then
    (`with_odd_sizes`), so that what a remainder decides differs; else they grow by whole multiples,
    so that strides still divide them.
    """
    return {k: program.odd.get(k, n) for k, n in _multiples(program.sizes).items()}


def with_odd_sizes(program: Program) -> Program:
    """The program that knows odd sizes at which its shapes can be computed, where it has any."""
    odd = {k: n + 1 for k, n in _multiples(program.sizes).items() if program.sizes[k] >= 8}
    if not odd:
        return program
    found = replace(program, odd=odd)
    try:
        shapes(found, other_sizes(found))
    except (RuntimeError, ValueError, IndexError, TypeError):
        return program
    return found


def _multiples(sizes: dict[str, int]) -> dict[str, int]:
    return {k: v * (2 + i) if v >= 8 else v + 3 + i for i, (k, v) in enumerate(sizes.items())}


def single(program: Program) -> dict[str, int]:
    """The example's dynamic sizes, with a batch of 1 where the batch is dynamic."""
    batches = {spec.dims[0] for spec in program.inputs if spec.dims}
    return {k: 1 if k in batches else v for k, v in program.sizes.items()}


def at_points(program: Program) -> list[tuple[dict[str, int], dict[fx.Node, Value]]]:
    """Settings of the dynamic sizes and every `Value` at each: what is equal in all is one size.

    The example's first, then `other_sizes`, then one less and one more than those, where the
    program runs there: at whole multiples of the example, `h` and `h // 2 * 2` are the same, and
    the halves `h // 2` and `h - h // 2` of a height.
    """
    found = [(program.sizes, shapes(program))]
    if not program.sizes:
        return found
    other = other_sizes(program)
    found.append((other, shapes(program, other)))
    for step in (-1, 1):
        beside = {k: v + step for k, v in other.items()}
        try:
            found.append((beside, shapes(program, beside)))
        except (RuntimeError, ValueError, IndexError):  # not a size that the network takes
            continue
    return found
