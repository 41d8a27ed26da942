"""What is installed is what was pinned: a check of the dependencies that needs no network."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins() -> dict[str, Requirement]:
    """The constraints by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in found}


def needed() -> set[str]:
    """Every distribution that igc needs at run time here, and what those need."""
    seen: set[str] = set()
    stack = ["igc-compiler"]
    while stack:
        for text in requires(stack.pop()) or []:
            wanted = Requirement(text)
            name = canonicalize_name(wanted.name)
            if name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            try:
                version(name)
            except PackageNotFoundError:
                continue  # PyTorch's GPU libraries, in its CPU build
            seen.add(name)
            stack.append(name)
    return seen


def test_every_dependency_is_pinned() -> None:
    known = pins()
    assert not sorted(needed() - set(known))
    assert all(
        len(r.specifier) == 1 and str(r.specifier).startswith("==") and "*" not in str(r.specifier)
        for r in known.values()
    )


def test_no_dependency_comes_from_elsewhere() -> None:
    """No address, no folder, no other index among the pins or the declared dependencies."""
    assert not [r for r in pins().values() if r.url]
    assert not [text for text in requires("igc-compiler") or [] if Requirement(text).url]
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"^\s*-|://", text, re.MULTILINE)


def test_what_stands_in_for_an_audit_of_vulnerabilities() -> None:
    """The rules that SECURITY.md names are on, for all but the tests, and CI runs them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^    "S",', text, re.MULTILINE)
    assert set(re.findall(r'^    "(S\d+)"', text, re.MULTILINE)) == {"S101"}
    off = dict(re.findall(r'^"(.*)" = \[(.*)\]', text, re.MULTILINE))
    assert [place for place, rules in off.items() if '"S"' in rules] == ["tests/**"]
    assert "make lint" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "ruff check" in (ROOT / "Makefile").read_text(encoding="utf-8")
