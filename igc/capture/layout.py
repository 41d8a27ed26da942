"""What torch says of a tensor's memory while it exports: whose it is, its axes in order.

Sizes may be symbols there. A statement on them counts as true only where it is true of all sizes.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._sympy.functions import FloorDiv, Mod, PythonMod

aten = torch.ops.aten

OPERATORS: dict[Any, Any] = {
    sympy.Add: operator.add, sympy.Mul: operator.mul, FloorDiv: operator.floordiv,
    Mod: operator.mod, PythonMod: operator.mod,
}  # fmt: skip


def surely(statement: Any) -> bool:
    """Whether a statement on sizes is true whatever they are."""
    return bool(statement) if isinstance(statement, bool) else statically_known_true(statement)


def surely_less(a: Any, b: Any) -> bool:
    """Whether one size is always less than another, as far as this is seen.

    Where torch does not see it, quotients that are rounded down are bounded by those that are not,
    and the difference has to be a sum of positive terms.
    """
    if surely(a < b):
        return True
    terms = sympy.Add.make_args(sympy.expand(_expression(b) - _expression(a)))
    bounded = sympy.Integer(0)
    for term in terms:
        rounded = [f for f in sympy.Mul.make_args(term) if f.has(FloorDiv, Mod, PythonMod)]
        if len(rounded) == 1 and term.as_coeff_Mul()[0] < 0 and isinstance(rounded[0], FloorDiv):
            term = term.subs(rounded[0], rounded[0].args[0] / rounded[0].args[1])
        elif rounded and (term.as_coeff_Mul()[0] < 0 or len(rounded) > 1):
            return False
        bounded += term
    rest, constant = sympy.Integer(0), sympy.Integer(0)
    for term in sympy.Add.make_args(sympy.expand(bounded)):
        if term.is_number:
            constant += term
        elif term.as_coeff_Mul()[0] < 0:
            return False
        else:
            rest += term
    return bool(constant >= 1) and all(s.is_nonnegative for s in rest.free_symbols)


def divides(number: Any, value: Any) -> bool:
    """Whether a size is always a multiple of a number."""
    if isinstance(value, int) and isinstance(number, int):
        return value % number == 0
    quotient = sympy.expand(_expression(value) / _expression(number))
    terms = sympy.Add.make_args(quotient)
    return surely(value % number == 0) or all(t.is_integer and _whole(t) for t in terms)


def _whole(term: Any) -> bool:
    """Whether nothing in a term is divided by."""
    return all(not (f.is_Pow and f.exp.is_negative) for f in sympy.Mul.make_args(term))


def _expression(value: Any) -> Any:
    return value.node.expr if isinstance(value, torch.SymInt) else sympy.Integer(value)


def in_example(value: Any) -> int:
    """A size as it is in the example."""
    return int(value.node.hint if isinstance(value, torch.SymInt) else value)


def memory_order(tensor: Tensor) -> list[int] | None:
    """The axes from the largest step to the smallest, of a tensor that is all of its memory.

    None where it is a part of its memory, or repeats entries.
    """
    order, held = _dense(tensor), tensor.untyped_storage().nbytes()
    full = tensor.numel() * tensor.element_size()  # `nbytes` would fix the sizes
    whole = surely(tensor.storage_offset() == 0) and surely(held == full)
    return order if whole else None


def _dense(tensor: Tensor) -> list[int] | None:
    """The axes from the largest step to the smallest where no entry is skipped or repeated."""
    steps = [in_example(s) for s in tensor.stride()]
    order = sorted(range(tensor.ndim), key=lambda a: (-steps[a], in_example(tensor.shape[a]) == 1))
    step: Any = 1
    for axis in reversed(order):
        if surely(tensor.shape[axis] == 1):
            continue
        if not surely(tensor.stride(axis) == step):
            return None
        step = step * tensor.shape[axis]
    return order


def repeated(tensor: Tensor, times: int) -> Tensor:
    """An example input of so many times the batch, its axes in memory in the order they had.

    A network that reads memory by steps asks for that order. What is a view of another tensor
    becomes one of its own: torch would export it with the sizes of that other one.
    """
    if tensor.ndim and times != 1:
        order = example_order(tensor)
        more = tensor.permute(order).repeat([times if a == 0 else 1 for a in order])
        tensor = more.permute([order.index(a) for a in range(tensor.ndim)])
    return tensor.clone() if tensor._base is not None and _dense(tensor) is not None else tensor


def laid_out_as(example: Tensor, value: Tensor) -> Tensor:
    """The value with its axes in memory in the order that an example of it has them."""
    order = example_order(example)
    return value.permute(order).contiguous().permute([order.index(a) for a in range(value.ndim)])


def example_order(tensor: Tensor) -> list[int]:
    """The axes of an example from the largest step to the smallest; a batch of one comes first."""
    ones, steps = tensor.ndim > 0 and tensor.shape[0] == 1, tensor.stride()
    return sorted(range(tensor.ndim), key=lambda a: (ones and a != 0, -steps[a]))


def owner(node: fx.Node) -> tuple[fx.Node, list[int]] | None:
    """The value whose memory a node shows, and the order of its axes there; None if not known."""
    while True:
        value = node.meta.get("val")
        order = memory_order(value) if isinstance(value, Tensor) else None
        if order is not None:
            return node, order
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or not _may_view(node):
            return None
        node = source


def layer_of_export(node: fx.Node) -> str:
    """The user's name for the module that made a call of an exported graph; "" for the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((p for p, _ in reversed(stack.values())), "")
    if path == "_empty_nn_module_stack_from_metadata_hook":  # torch knows none: a size, say
        return ""
    return path.replace("L['self'].", "").replace("L['self']", "")


def _may_view(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and any(
        r.alias_info is not None for r in target._schema.returns
    )


class Sizes:
    """Torch's symbols for sizes, as calls on the inputs that they are read off."""

    def __init__(self, source: fx.Graph, graph: fx.Graph, env: Mapping[fx.Node, fx.Node]) -> None:
        self._graph, self._env = graph, env
        self._read: dict[Any, tuple[fx.Node, int]] = {}
        for node in source.find_nodes(op="placeholder"):
            value = node.meta.get("val")
            shape: Sequence[Any] = value.shape if isinstance(value, Tensor) else ()
            for axis, size in enumerate(shape):
                if isinstance(size, torch.SymInt):
                    self._read.setdefault(size.node.expr, (node, axis))

    def __call__(self, value: Any) -> Any:
        """A size as a number, or as a call in the graph; `ValueError` where it is neither."""
        return self._written(_expression(value))

    def _written(self, expression: Any) -> Any:
        if expression.is_Integer:
            return int(expression)
        if expression in self._read:
            node, axis = self._read[expression]
            return self._graph.call_function(aten.sym_size.int, (self._env[node], axis))
        target, parts = OPERATORS.get(expression.func), list(expression.args)
        if expression.is_Pow and expression.exp.is_Integer and expression.exp > 0:
            target, parts = operator.mul, [expression.base] * int(expression.exp)
        if target is None:
            raise ValueError("its steps are not made of sizes")
        result = self._written(parts[0])
        for part in parts[1:]:
            result = self._graph.call_function(target, (result, self._written(part)))
        return result
