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
