"""A program goes through its text and back, and is the same in all that the text tells."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from igc.program import Program
from igc.program.lint import lint
from igc.program.parsing import parse
from igc.program.text import text


def told(value: Any) -> Any:
    """An argument with the types of all its parts; nodes and constants by name."""
    if isinstance(value, fx.Node):
        return ("constant", value.target) if value.op == "get_attr" else ("node", value.name)
    if isinstance(value, (list, tuple)):
        return isinstance(value, list), [told(v) for v in value]
    if isinstance(value, float):
        return float, math.copysign(1, value), str(value)
    return type(value), value


def calls(program: Program) -> list[Any]:
    return [
        (n.name, n.target, told(n.args), [(k, told(v)) for k, v in n.kwargs.items()],
         n.meta.get("layer") or "")
        for n in program.graph.nodes
        if n.op == "call_function"
    ]  # fmt: skip


def assert_same(one: Program, other: Program) -> None:
    """Equal in everything that the text tells."""
    assert calls(one) == calls(other)
    assert told(one.output_nodes) == told(other.output_nodes)
    assert [(n.name, n.target) for n in one.placeholders] == [
        (n.name, n.target) for n in other.placeholders
    ]
    for each in ("inputs", "dtype", "outputs", "out_spec", "kinds"):
        assert getattr(one, each) == getattr(other, each), each
    assert list(one.sizes.items()) == list(other.sizes.items())
    for each in ("gates", "mixes"):
        held, found = getattr(one, each), getattr(other, each)
        assert found == {
            k: v for k, v in held.items() if set(v.values() if each == "gates" else [v])
            <= set(one.constants)
        }  # fmt: skip
    assert {k: (o.source, o.transform) for k, o in one.origins.items()} == {
        k: (o.source, o.transform) for k, o in other.origins.items()
    }
    assert list(one.constants) == list(other.constants)
    for name, value in one.constants.items():
        found = other.constants[name]
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert torch.equal(value.nan_to_num(7), found.nan_to_num(7))


def assert_told(program: Program) -> Program:
    """The program goes through its text and back; returns what came back."""
    words = text(program)
    again = parse(words, program.constants)
    assert text(again) == words
    assert_same(program, again)
    lint(again, "text")
    return again
