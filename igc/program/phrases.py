"""What stands in the lines of a program's text: types, operations, arguments, structures."""

from __future__ import annotations

import math
import operator
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from igc.errors import BadInput
from igc.program.nodes import SIZE_OPS
from igc.program.program import Origin
from igc.program.structure import Absent, Constant, named
from igc.program.text import SHORT
from igc.program.tokens import STRING, Line, number, unquoted

LONG = {short: dtype for dtype, short in SHORT.items()}
OPERATORS: dict[str, Any] = {f"operator.{name}": op for op, name in SIZE_OPS.items()}
OPERATORS["operator.getitem"] = operator.getitem
WORDS = {"None": None, "True": True, "False": False, "inf": math.inf, "nan": math.nan}
TYPES = (torch.dtype, torch.layout, torch.memory_format)
ORIGIN = re.compile(rf"(?:from ({STRING}|[\w.~]+)(?:: |$))?(.*)")


def dtype(line: Line) -> torch.dtype:
    """`f32`, or the name in full."""
    word = line.take("name")
    found = LONG.get(word) or getattr(torch, word, None)
    if not isinstance(found, torch.dtype):
        raise BadInput(f"'{word}' is no type of tensors; f32 and i64 are")
    return found


def operation(line: Line) -> Any:
    """An ATen op, with `.default` where it names no overload, or an operator on sizes."""
    word = line.take("name")
    if word in OPERATORS:
        return OPERATORS[word]
    packet, _, overload = word.partition(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)
    if not isinstance(found, torch._ops.OpOverload):
        raise BadInput(f"there is no operation aten.{packet}.{overload or 'default'}")
    return found


def value(line: Line, node: Callable[[str], fx.Node], constant: Callable[[str], fx.Node]) -> Any:
    """An argument of a call; `node` and `constant` are asked for those named."""

    def inner() -> Any:
        return value(line, node, constant)

    if line.see("constant"):
        return constant(line.constant())
    if line.see("number"):
        return number(line.take("number"))
    if line.see("string"):
        return unquoted(line.take("string"))
    if line.skip("mark", "["):
        return line.until("]", inner)
    if line.skip("mark", "("):
        return tuple(line.until(")", inner))
    word = line.take("name")
    if word == "device" and line.skip("mark", "("):
        found = torch.device(unquoted(line.take("string")))
        line.take("mark", ")")
        return found
    if word.startswith("torch."):
        return _of_torch(word)
    return WORDS[word] if word in WORDS else node(word)


def _of_torch(word: str) -> Any:
    """A dtype, a layout or a memory format."""
    found = getattr(torch, word.removeprefix("torch."), None)
    if not isinstance(found, TYPES):
        raise BadInput(f"{word} is no type, layout or memory format")
    return found


def structure(line: Line) -> Any:
    """The containers of outputs, with 0 for each tensor; literals are constants beside them."""

    def inner() -> Any:
        return structure(line)

    def items() -> list[tuple[Any, Any]]:
        return line.until("}", lambda: _item(line))

    if line.see("number") or line.see("string"):
        return Constant(_plain(line))
    if line.skip("mark", "["):
        return line.until("]", inner)
    if line.skip("mark", "("):
        return tuple(line.until(")", inner))
    if line.skip("mark", "{"):
        return dict(items())
    kind = line.take("name")
    if kind in ("_", "None"):
        return 0 if kind == "_" else Absent()
    if kind in ("True", "False"):
        return Constant(WORDS[kind])
    line.take("mark", "(")
    if kind == "OrderedDict":
        line.take("mark", "{")
        ordered = OrderedDict(items())
        line.take("mark", ")")
        return ordered
    fields = dict(line.until(")", lambda: line.pair(inner)))
    return named(kind, tuple(fields))(**fields)


def _item(line: Line) -> tuple[Any, Any]:
    """KEY: STRUCTURE."""
    key: Any
    if line.skip("mark", "("):
        key = tuple(line.until(")", lambda: _plain(line)))
    else:
        key = _plain(line)
    line.take("mark", ":")
    return key, structure(line)


def _plain(line: Line) -> Any:
    """A number, a text, a truth value or None."""
    if line.see("number"):
        return number(line.take("number"))
    if line.see("string"):
        return unquoted(line.take("string"))
    word = line.take("name")
    if word not in WORDS:
        raise BadInput(f"{word} is no plain value")
    return WORDS[word]


def origin(comment: str) -> Origin:
    """`from SOURCE: TRANSFORM`, or the transform alone."""
    found = ORIGIN.fullmatch(comment)
    assert found is not None  # it takes any line
    return Origin(unquoted(found[1] or ""), transform=unquoted(found[2]))


def drawn(shape: list[int], kind: torch.dtype, draw: torch.Generator) -> Tensor:
    """A tensor whose values nobody told; see `igc.program.parsing.parse`."""
    if not kind.is_floating_point and not kind.is_complex:
        return torch.randint(0, 2, shape, generator=draw).to(kind)
    if len(shape) > 1:
        return torch.randn(shape, generator=draw).to(kind)
    return (torch.rand(shape, generator=draw) + 0.5).to(kind)
