"""A pass tested in text: what becomes what, what stays and why."""

from __future__ import annotations

import re
from itertools import zip_longest
from textwrap import dedent

import torch
from torch import Tensor

from igc.passes import Pass, Record
from igc.program import Program
from igc.program.execute import execute
from igc.program.lint import lint
from igc.program.parsing import parse
from igc.program.shapes import other_sizes
from igc.program.text import text


def becomes(each: Pass, before: str, after: str, *, why: tuple[str, ...] = ()) -> None:
    """The pass turns one program into the other, which computes the same.

    `after` may leave out the comments and the values of constants. `why` are the reasons that the
    pass gives for what it left as it was. The program given stays as it was.
    """
    program, record = parse(dedent(before)), Record()
    lint(program, "the test")
    given = text(program)
    result = each(program, record)
    assert text(program) == given, f"'{each.name}' wrote on the program that it was given"
    assert result is not program, f"'{each.name}' left the program as it was"
    assert_reads(text(result), after)
    assert tuple(r.reason for r in record.remarks) == why
    lint(result, each.name)
    assert_computes_the_same(program, result)


def stays(each: Pass, source: str, *, why: tuple[str, ...] = ()) -> None:
    """The pass returns the program itself, and gives these reasons."""
    program, record = parse(dedent(source)), Record()
    lint(program, "the test")
    result = each(program, record)
    assert result is program, f"'{each.name}' made of it:\n{text(result)}"
    assert tuple(r.reason for r in record.remarks) == why


def assert_reads(found: str, wanted: str) -> None:
    """The text is the one wanted, line by line, whatever space is between words."""
    pairs = zip_longest(_lines(found), _lines(wanted), fillvalue="")
    told = "\n".join(want if _says(line, want) else line for line, want in pairs)
    assert told == "\n".join(_lines(wanted))


def _lines(source: str) -> list[str]:
    return [" ".join(line.split()) for line in source.splitlines() if line.strip()]


def _says(line: str, wanted: str) -> bool:
    """Whether a line is the one wanted, which may leave out its comment or a constant's values."""
    (said, _, comment), (want, _, remark) = line.partition(" # "), wanted.partition(" # ")
    same = said == want or (want.startswith("@") and _without_values(said) == want)
    return same and remark in ("", comment)


def _without_values(line: str) -> str:
    return re.sub(r"^(@.*?\]( as \w+)?)( [-+.\w]+)*$", r"\1", line)


def assert_computes_the_same(one: Program, other: Program) -> None:
    """Both give the same numbers, in float64, at two settings of the dynamic sizes."""
    draw = torch.Generator().manual_seed(1)
    for sizes in (one.sizes, other_sizes(one)):
        inputs = [_drawn(s.shape(sizes), s.dtype, draw) for s in one.inputs]
        want, found = (execute(p, inputs, dtype=torch.float64) for p in (one, other))
        for name, a, b in zip(one.outputs, want, found, strict=True):
            assert a.shape == b.shape, name
            assert (a - b).abs().max() <= 1e-10 * a.abs().max().clamp_min(1e-30), name


def _drawn(shape: tuple[int, ...], dtype: torch.dtype, draw: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=draw, dtype=torch.float64)
    return torch.randint(0, 2, shape, generator=draw).to(dtype)
