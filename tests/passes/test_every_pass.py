"""No pass without tests in text: each has one in which it rewrites and one in which it does not."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from igc.passes import Pass, Record, with_split_groups
from igc.program import Program

HELPERS = ("becomes", "stays")


def calls_of_helpers(source: str) -> Iterator[tuple[str, str]]:
    """(helper, class) for each call `becomes(SomePass(), ...)` or `stays(SomePass(), ...)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Call):
            yield ast.unparse(node.func), ast.unparse(node.args[0].func)


def untested(passes: Iterable[Pass], sources: Iterable[str]) -> list[str]:
    found = {pair for source in sources for pair in calls_of_helpers(source)}
    names = [type(each).__name__ for each in passes]
    return [
        f"{helper} {name}" for name in names for helper in HELPERS if (helper, name) not in found
    ]


def test_every_pass_is_tested_in_text() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    assert not untested(with_split_groups(), [f.read_text(encoding="utf-8") for f in files])


@dataclass(frozen=True)
class New:
    name: str = "new"

    def __call__(self, program: Program, record: Record) -> Program:
        return program


def test_a_new_pass_is_asked_for_both() -> None:
    assert untested([New()], []) == ["becomes New", "stays New"]
    half = "def test_it():\n    becomes(New(), 'a', 'b')\n    # stays(New(), 'c')"
    assert untested([New()], [half]) == ["stays New"]
    assert untested([New()], [half.replace("# ", "")]) == []
