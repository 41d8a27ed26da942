"""The helpers that test passes in text see a pass that does something else, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from in_text import assert_reads, becomes, stays

from igc.errors import LintError
from igc.passes import Record
from igc.program import Program
from igc.program.parsing import parse

BEFORE = "program(x: f32[batch=2, 4]) f32\n  y = relu(x)  # act\n  return y=y"
ADDED = "program(x: f32[batch=2, 4]) f32\n  z = relu(x)\n  y = add.Tensor(z, 0)\n  return y=y"


@dataclass(frozen=True)
class Does:
    """A pass that is a function of the program, and gives one reason."""

    made: Callable[[Program], Program]
    name: str = "does"

    def __call__(self, program: Program, record: Record) -> Program:
        record.declined(next(iter(program.graph.nodes)), "because")
        return self.made(program)


def written_on(program: Program) -> Program:
    next(n for n in program.graph.nodes if n.op == "call_function").meta["layer"] = "other"
    return parse(ADDED)


def test_what_becomes_what_is_seen() -> None:
    becomes(Does(lambda _: parse(ADDED)), BEFORE, ADDED, why=("because",))
    with pytest.raises(AssertionError, match="left the program as it was"):
        becomes(Does(lambda p: p), BEFORE, BEFORE, why=("because",))
    with pytest.raises(AssertionError):
        becomes(Does(lambda _: parse(ADDED)), BEFORE, ADDED.replace("0)", "0.0)"), why=("because",))
    with pytest.raises(AssertionError):
        becomes(Does(lambda _: parse(ADDED)), BEFORE, ADDED)
    with pytest.raises(AssertionError, match="wrote on the program"):
        becomes(Does(written_on), BEFORE, ADDED, why=("because",))


def test_other_numbers_are_seen() -> None:
    wrong = ADDED.replace("0)", "0.001)")
    with pytest.raises(AssertionError):
        becomes(Does(lambda _: parse(wrong)), BEFORE, wrong, why=("because",))
    burnt_in = ADDED.replace("add.Tensor(z, 0)", "reshape(z, [2, 4])")
    with pytest.raises(LintError):
        becomes(Does(lambda _: parse(burnt_in)), BEFORE, burnt_in, why=("because",))


def test_what_stays_and_why_is_seen() -> None:
    stays(Does(lambda p: p), BEFORE, why=("because",))
    with pytest.raises(AssertionError, match="'does' made of it"):
        stays(Does(lambda _: parse(BEFORE)), BEFORE, why=("because",))
    with pytest.raises(AssertionError):
        stays(Does(lambda p: p), BEFORE)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [("y = relu(x)   # act", "y = relu(x)", True), ("y = relu(x)", "y = relu(x)  # act", False),
     ("y = relu(x)  # act", "y = relu(x)  # other", False), ("y = relu(x)", "y = relu", False),
     ("@w f32[2] 1 -2.5", "@w f32[2]", True),
     ("@w f32[2] 1 -2.5  # from v", "@w f32[2]  # from v", True),
     ("@w f32[2] 1 2", "@w f32[2] 1 3", False), ("@w f64[2] as f32 1 2", "@w f64[2] as f32", True),
     ("@w f64[2] as f32", "@w f64[2]", False), ("@w f32[2]", "@v f32[2]", False),
     ("return y=y as _", "return y=y", False), ("y = relu(x)\nz = relu(y)", "y = relu(x)", False)],
)  # fmt: skip
def test_comments_and_values_alone_may_be_left_out(found: str, wanted: str, same: bool) -> None:
    if same:
        assert_reads(found, wanted)
    else:
        with pytest.raises(AssertionError):
            assert_reads(found, wanted)
