"""Turns what is typed on the command line into values; every refusal is one line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import typer

from igc.reports.writers import WRITERS  # noqa: TID253 - names and functions of text alone

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")
TABLE = "table"  # how a report is drawn, not written
FORMATS = (TABLE, *WRITERS)

_SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?\s*([kmgt]?)", re.IGNORECASE)
_SHAPE = re.compile(r"[0-9]{1,10}(x[0-9]{1,10})*", re.IGNORECASE)


@dataclass(frozen=True)
class InputShape:
    """One input of a network as typed: its sizes, batch first, and its dtype by name."""

    sizes: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        shape = "x".join(map(str, self.sizes))
        return shape if self.dtype == "float32" else f"{shape}:{self.dtype}"


@dataclass(frozen=True)
class Quantity:
    """A budget: its value, and the way it was typed."""

    value: float
    typed: str

    def __str__(self) -> str:
        return self.typed


@dataclass(frozen=True)
class TaskNames:
    """The tasks asked for, in the order typed."""

    names: tuple[str, ...]


def parse_input(text: str) -> InputShape:
    """Returns the sizes and dtype of `1x3x224x224` or `1x16:int64`.

    Raises typer.BadParameter when a size is missing, zero or not a number, or the dtype is none
    of DTYPES.
    """
    shape, colon, dtype = text.strip().partition(":")
    if not _SHAPE.fullmatch(shape):
        raise typer.BadParameter(f"{text!r} is not a shape; write it like 1x3x224x224")
    sizes = tuple(int(size) for size in shape.lower().split("x"))
    if 0 in sizes:
        raise typer.BadParameter(f"{text!r} has a size of 0; every size is at least 1")
    if math.prod(sizes) > 2**31:
        raise typer.BadParameter(f"{text!r} holds {math.prod(sizes):,} numbers; at most 2**31")
    if colon and dtype not in DTYPES:
        raise typer.BadParameter(
            f"{text!r} names no known number type; write one of {', '.join(DTYPES)}"
        )
    return InputShape(sizes, dtype or "float32")


def parse_quantity(text: str) -> Quantity:
    """Returns the number that `1.2G`, `4M`, `350k` or `1.2e9` stands for (decimal prefixes).

    Raises typer.BadParameter for anything else, negative numbers and zero included.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a number; write it like 1.2G, 4M or 350k")
    digits, exponent, prefix = match.groups()
    value = float(digits + (exponent or "")) * _SCALE[prefix.lower()]
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text!r} is no budget; it has to be above zero and finite")
    return Quantity(value, text.strip())


def parse_tasks(text: str) -> TaskNames:
    """Returns the task names of `seg,depth`.

    Raises typer.BadParameter when a name is empty or given twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise typer.BadParameter(f"{text!r} has an empty task name; write them like seg,depth")
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} names a task twice; name each once")
    return TaskNames(names)


def parse_format(text: str) -> str:
    """Returns the name of a format of reports, one of FORMATS.

    Raises typer.BadParameter for any other.
    """
    if text not in FORMATS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, FORMATS))}")
    return text


def suffixes() -> str:
    """How the file of a report may end: .html, .md or .txt."""
    *most, last = (f".{name}" for name in WRITERS)
    return f"{', '.join(most)} or {last}"
