"""What a node calls, and with which arguments, by the names that the ATen schema gives them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx


@functools.cache
def parameters(target: torch._ops.OpOverload) -> dict[str, tuple[int, Any]]:
    """The position and the default of every argument, by name; a required one's is None."""
    arguments = target._schema.arguments
    return {a.name: (i, a.default_value) for i, a in enumerate(arguments)}


def argument(node: fx.Node, name: str) -> Any:
    """One argument of an ATen call by name, the schema's default where the call leaves it out.

    Raises `KeyError` where the op has no such argument.
    """
    target = node.target
    assert isinstance(target, torch._ops.OpOverload), target
    position, default = parameters(target)[name]
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)


def bind(node: fx.Node) -> dict[str, Any]:
    """All arguments of an ATen call by name, the schema's defaults filled in."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload), target
    args, kwargs = node.args, node.kwargs
    return {
        name: args[i] if i < len(args) else kwargs.get(name, default)
        for name, (i, default) in parameters(target).items()
    }


def changed(node: fx.Node, changes: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """A call's positional and keyword arguments with some of them changed, by name.

    Those that the call left out before a changed one are filled in.
    """
    args, kwargs = list(node.args), dict(node.kwargs)
    for name, value in changes.items():
        if name in kwargs:
            kwargs[name] = value
            continue
        bound = bind(node)
        names = list(bound)
        while names.index(name) >= len(args):
            between = names[len(args)]
            args.append(bound[between])
            kwargs.pop(between, None)
        args[names.index(name)] = value
    return args, kwargs


def given(node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
    """The call's positional and keyword arguments, without those that equal their default."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload), target
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    skipped = False
    for (name, value), parameter in zip(bind(node).items(), target._schema.arguments, strict=True):
        if parameter.has_default_value() and same(value, parameter.default_value):
            skipped = True
        elif skipped or parameter.kwarg_only:
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


def op_name(node: fx.Node) -> str:
    """The name of an ATen op without its overload, such as `conv2d`; that of a Python operator.

    An op of another library has its full name, as it may mean anything; a node that calls nothing
    has none.
    """
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return base_name(target) if target.namespace == "aten" else str(target)
    return str(getattr(target, "__name__", "")) if node.op == "call_function" else ""


@functools.cache
def base_name(target: torch._ops.OpOverload) -> str:
    """An op's name without namespace, overload and in-place underscore: `conv2d`, `relu`."""
    name = str(target._schema.name).split("::")[-1]
    if name.startswith("__"):
        return name
    return name.removesuffix("_") or name


def is_size(node: fx.Node) -> bool:
    """Whether the node's value is a number (a dimension) and no tensor."""
    if node.op != "call_function":
        return False
    if isinstance(node.target, torch._ops.OpOverload):
        return operation(node) == "aten.sym_size.int"
    return operation(node) != "operator.getitem"
