"""What passes make of a program, as text: printed after those named, one file after each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from igc.errors import BadInput
from igc.files import check_writable_folder, write_atomic
from igc.passes import CAPTURED, Pass
from igc.program import Program
from igc.program.text import text

ALL = "all"


def slug(name: str) -> str:
    """The name of a pass as it stands on a command line and in file names: `fold-constants`."""
    return name.replace(" ", "-")


def pass_named(word: str, pipeline: Iterable[Pass]) -> str:
    """The name of the pass that `word` is for, with spaces or as `slug` writes it."""
    return _named(word, [each.name for each in pipeline])


def stages(words: Iterable[str], pipeline: Iterable[Pass]) -> frozenset[str]:
    """The names of the programs to show: of passes, "captured", or "all" of them.

    Raises `BadInput`, which lists what there is, for a word that is none.
    """
    known = [CAPTURED, *(each.name for each in pipeline)]
    found: set[str] = set()
    for word in words:
        found.update(known if word == ALL else [_named(word, known, ALL)])
    return frozenset(found)


def _named(word: str, known: list[str], *more: str) -> str:
    found = [name for name in known if slug(name) == slug(word)]
    if not found:
        there = ", ".join([*more, *map(slug, known)])
        raise BadInput(f"no pass is named {word!r}; there are {there}")
    return found[0]


class Tracer:
    """An `after` of the compiler: writes the programs of these names as text.

    In `folder`, which is made where it is missing, every program becomes a file, with its number
    before its name: `00-captured.txt`, `01-fold-constants.txt`. They are there as soon as their
    pass has run, whatever becomes of the rest. Raises `BadInput` where they cannot be written.
    """

    def __init__(
        self, shown: Iterable[str], write: Callable[[str], object], folder: Path | None = None
    ) -> None:
        """`write` is given the text of each program in `shown`, under a line that says which."""
        if folder is not None:
            check_writable_folder(folder)
            folder.mkdir(exist_ok=True)
        self._shown, self._write, self._folder = frozenset(shown), write, folder
        self._count, self._last = 0, ""

    def __call__(self, name: str, program: Program) -> None:
        """The next program, and the pass that made it."""
        told = text(program)
        if name in self._shown:
            title = slug(name) if name == CAPTURED else f"after {slug(name)}"
            same = ", which changed nothing" if told == self._last else ""
            self._write(f"# {title}{same}\n{told}")
        if self._folder is not None:
            write_atomic(self._folder / f"{self._count:02d}-{slug(name)}.txt", told)
        self._count, self._last = self._count + 1, told
