"""Constants that the input's size repeats are told once, where that is the same at every size."""

from __future__ import annotations

from textwrap import dedent

import pytest
import torch

from igc.capture.repeats import with_repeats_once
from igc.program.execute import execute
from igc.program.lint import lint
from igc.program.parsing import parse
from igc.program.text import text

GIVEN = """
program(x: f32[batch=2, 4], y: f32[batch, 4]) f32
  n = sym_size.int(x, 0)
"""
MASK = "\n  @m bool[4] 1 0 0 1"


def body(source: str) -> list[str]:
    """The calls of a program, without its inputs, results and constants."""
    lines = [" ".join(line.split()) for line in source.splitlines()]
    return [
        line for line in lines if " = " in line and not line.startswith(("@", "program", "n ="))
    ]


def once(calls: str, constants: str = MASK) -> list[str]:
    """The calls afterwards; the numbers are the same at two sizes, in order and shape."""
    calls = dedent(calls).replace("KIND", "dtype=torch.float32, device=device('cpu')")
    program = parse(f"{GIVEN}{calls}\n  return z=z{constants}")
    result = with_repeats_once(program)
    lint(result, "the test")
    for batch in (2, 5):
        inputs = [torch.randn(batch, 4) for _ in program.inputs]
        (a,), (b,) = (execute(p, inputs) for p in (program, result))
        assert a.shape == b.shape and torch.equal(a, b)
    return body(text(result)) if result is not program else []


def test_an_expanded_mask_is_expanded_once() -> None:
    calls = "  e = expand(@m, [n, 4])\n  z = where.self(e, x, y)"
    assert once(calls) == [
        "expand_default = expand(@m, [1, 4])", "z = where.self(expand_default, x, y)",
    ]  # fmt: skip


def test_a_mask_repeated_over_the_batch_too() -> None:
    calls = "  r = repeat(@m, [n, 1])\n  z = where.self(r, x, y)"
    assert once(calls) == [
        "repeat_default = repeat(@m, [1, 1])", "z = where.self(repeat_default, x, y)",
    ]  # fmt: skip


def test_a_mask_that_is_written_into_zeros_and_its_complement() -> None:
    calls = """
      e = full([n, 3], 1.0, KIND)
      o = full([n, 4], 0.0, KIND)
      s = slice.Tensor(o, 1, 3, 4)
      m = cat([e, s], 1)
      r = rsub.Scalar(m, 1)
      a = mul.Tensor(x, m)
      b = mul.Tensor(r, y)
      z = add.Tensor(a, b)
    """
    found = once(calls, "")
    assert not [line for line in found if "[n" in line]
    assert sum("[1, " in line for line in found) == 2  # each of the two is made once


def test_numbers_written_at_places_of_an_axis_that_has_one_size() -> None:
    calls = """
      o = full([n, 4], 0.0, KIND)
      m = index_put(o, [None, @at], @v)
      z = mul.Tensor(x, m)
    """
    found = once(calls, "\n  @at i64[2] 1 3\n  @v f32[] 1")
    assert found[0].startswith("full_default = full([1, 4]")


@pytest.mark.parametrize(
    ("calls", "constants"),
    [
        # along the batch the entries differ
        ("r = arange(n, KIND)\n  u = unsqueeze(r, 1)\n  z = mul.Tensor(x, u)", ""),
        # a constant of several entries, one after the other
        ("r = repeat(@m, [n])\n  s = reshape(r, [-1, 4])\n  z = where.self(s, x, y)", MASK),
        # a sum over the batch
        ("o = full([n, 4], 1.0, KIND)\n  s = sum.dim_IntList(o, [0])\n"
         "  z = mul.Tensor(x, s)", ""),
        # nothing else has the size of the batch
        ("e = expand(@m, [n, 4])\n  z = where.self(e, @a, @b)",
         MASK + "\n  @a f32[4] 1 2 3 4\n  @b f32[4] 5 6 7 8"),
        # one row of the batch is another
        ("o = full([n, 4], 1.0, KIND)\n  m = index_fill.int_Scalar(o, 0, @at, 0.0)\n"
         "  z = mul.Tensor(x, m)", "\n  @at i64[1] 1"),
    ],
)  # fmt: skip
def test_what_changes_with_the_size_stays(calls: str, constants: str) -> None:
    assert once(f"  {calls}", constants) == []


def test_products_of_sizes_are_none_of_its_business() -> None:
    calls = """
      two = operator.mul(n, 2)
      half = operator.floordiv(two, 2)
      e = expand(@m, [half, 4])
      z = where.self(e, x, y)
    """
    assert once(calls)[-1] == "z = where.self(expand_default, x, y)"
