"""Rich tables and bars, drawn from the plain dictionaries that the library returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console


def compiled(outcome: Mapping[str, Any], checks: Mapping[str, Any]) -> None:
    """Prints what `igc compile` did: the costs, the checks, the files."""
    console = Console()
    for check in checks.values():
        console.print(str(check), markup=False, highlight=False, soft_wrap=True)
    if not checks:
        console.print("not verified (--no-verify)")
    for option, path in outcome["written"].items():
        console.print(f"{option[2:]}: {path}", highlight=False)


def report(values: Mapping[str, Any]) -> None:
    """Prints a cost report."""
    Console().print(values)


def inspection(values: Mapping[str, Any]) -> None:
    """Prints the open-gate shares and the mixes."""
    Console().print(values)
