"""A call's arguments by the names that the ATen schema gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def bind(node: fx.Node) -> dict[str, Any]:
    """All arguments of an ATen call by name, the schema's defaults filled in."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload), target
    bound: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(node.args):
            bound[argument.name] = node.args[i]
        elif argument.name in node.kwargs:
            bound[argument.name] = node.kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def given(node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
    """The call's positional and keyword arguments, without those that equal their default."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload), target
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    skipped = False
    for name, value, argument in zip(
        bind(node), bind(node).values(), target._schema.arguments, strict=True
    ):
        if argument.has_default_value() and same(value, argument.default_value):
            skipped = True
        elif skipped or argument.kwarg_only:
            keywords[name] = value
        else:
            positional.append(value)
    return positional, keywords


def same(a: Any, b: Any) -> bool:
    """Whether two argument values are equal in type and value (1 and True differ)."""
    if isinstance(a, fx.Node) or isinstance(b, fx.Node):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def operation(node: fx.Node) -> str:
    """The node's op as text, such as `aten.conv2d.default`; sizes as `operator.mul`."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    return f"operator.{getattr(node.target, '__name__', node.target)}"


def is_size(node: fx.Node) -> bool:
    """Whether the node's value is a number (a dimension) and no tensor."""
    if node.op != "call_function":
        return False
    if isinstance(node.target, torch._ops.OpOverload):
        return operation(node) == "aten.sym_size.int"
    return operation(node) != "operator.getitem"
