"""What the documentation names is there: files, modules and what is in them, targets of make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("[A-Z]*.md")]
HISTORY = "CHANGELOG.md"
FILE = re.compile(r"\b(?:igc|cli|tests|benchmarks|docs|examples)/[\w*./-]*\w/?")
NAME = re.compile(r"\bigc(?:\.[a-z_]\w*)+", re.IGNORECASE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
TARGET = re.compile(r"(?:`|^|^    )make ([a-z][\w/.-]*)", re.MULTILINE)
#: Entries in the metadata of an ONNX file are written like names of modules.
METADATA = {
    f"igc.{key}"
    for key in ("manifest_sha256", "tasks", "inputs", "input_shapes", "options", "outputs",
                "source_sha256")
}  # fmt: skip


def missing(text: str, folder: Path = ROOT) -> Iterator[str]:
    """What a page in `folder` names and the project lacks."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w/.-]*):", makefile, re.MULTILINE))
    yield from (file for file in FILE.findall(text) if not any(ROOT.glob(file)))
    yield from (name for name in NAME.findall(text) if name not in METADATA and not _found(name))
    yield from (link for link in LINK.findall(text) if not (folder / link).exists())
    yield from (f"make {target}" for target in TARGET.findall(text) if target not in targets)


def _found(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    here, *parts = name.split(".")
    thing: object = import_module(here)
    for part in parts:
        here += f".{part}"
        try:
            thing = import_module(here)
        except ImportError:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
    return True


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name != HISTORY], ids=lambda page: str(page.relative_to(ROOT))
)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert sorted(set(missing(page.read_text(encoding="utf-8"), page.parent))) == []


def test_what_is_not_there_is_found() -> None:
    page = (
        "`igc/graph.py`, `igc.graph.execute`, [here](nowhere.md), `make nothing`, `igc/ops/conv.py`"
    )
    assert list(missing(page)) == [
        "igc/graph.py",
        "igc.graph.execute",
        "nowhere.md",
        "make nothing",
    ]
