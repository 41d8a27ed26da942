"""A line of a program's text, token by token, from left to right."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TypeVar

from igc.errors import BadInput

Found = TypeVar("Found")
STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
TOKEN = re.compile(
    rf"""\s*(?:(?P<comment>\#.*)
    | (?P<string>{STRING})
    | @(?P<constant>{STRING}|[\w.~]+)
    | (?P<number>-inf\b|-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | (?P<mark>[()\[\]{{}},=:]))""",
    re.VERBOSE,
)


class Line:
    """The tokens of one line; what none of its methods expects raises `BadInput`."""

    def __init__(self, source: str) -> None:
        """Splits the line: what stands behind a # is its `comment`."""
        self.tokens: list[tuple[str, str]] = []
        self.comment = ""
        self.at = 0
        source, place = source.rstrip(), 0
        while place < len(source):
            found = TOKEN.match(source, place)
            if found is None:
                raise BadInput(f"what is {source[place:].strip()!r}?")
            kind = str(found.lastgroup)
            if kind == "comment":
                self.comment = found[kind][1:].strip()
            else:
                self.tokens.append((kind, found[kind]))
            place = found.end()

    def see(self, kind: str, which: str | None = None, ahead: int = 0) -> bool:
        """Whether the next token is of this kind and, where it is given, this very one."""
        if self.at + ahead >= len(self.tokens):
            return False
        found, token = self.tokens[self.at + ahead]
        return found == kind and which in (None, token)

    def take(self, kind: str, which: str | None = None) -> str:
        """The next token, which has to be of this kind."""
        if not self.see(kind, which):
            here = repr(self.tokens[self.at][1]) if self.at < len(self.tokens) else "the end"
            wanted = f"a {kind}" if which is None else repr(which)
            raise BadInput(f"expected {wanted}, found {here}")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def skip(self, kind: str, which: str) -> bool:
        """Whether this token comes next; it is behind us then."""
        found = self.see(kind, which)
        self.at += found
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if self.at < len(self.tokens):
            raise BadInput(f"expected the end, found {self.tokens[self.at][1]!r}")

    def word(self) -> str:
        """A name, plain or in quotes."""
        return unquoted(self.take("string" if self.see("string") else "name"))

    def constant(self) -> str:
        """The name of a constant."""
        return unquoted(self.take("constant"))

    def number(self) -> int:
        """A whole number."""
        return int(self.take("number"))

    def several(self, one: Callable[[], Found]) -> list[Found]:
        """What `one` reads once and again, as long as there are commas."""
        found = [one()]
        while self.skip("mark", ","):
            found.append(one())
        return found

    def until(self, end: str, one: Callable[[], Found]) -> list[Found]:
        """What `one` reads, between commas, up to the mark `end`; a comma may stand before it."""
        found: list[Found] = []
        while not self.skip("mark", end):
            found.append(one())
            if not self.see("mark", end):
                self.take("mark", ",")
        return found

    def pair(self, one: Callable[[], Found]) -> tuple[str, Found]:
        """NAME=VALUE."""
        name, _ = self.word(), self.take("mark", "=")
        return name, one()


def unquoted(word: str) -> str:
    """A word without the quotes that it may stand in."""
    return str(ast.literal_eval(word)) if word[:1] in ("'", '"') else word


def number(told: str) -> int | float:
    """The number of a token: whole without a point or exponent."""
    if told.lstrip("-") in ("inf", "nan"):
        return float(told)
    value: int | float = ast.literal_eval(told)
    return value
