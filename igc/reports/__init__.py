"""Reports as data: what a network costs, what its gates say, why a channel was kept.

The names are imported when first used: the formats (`igc.reports.writers`) are text alone, and the
command line names them in its help.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from igc.reports.budget import over_budget as over_budget
    from igc.reports.build import report as report
    from igc.reports.explanation import explain as explain
    from igc.reports.inspection import inspect as inspect
    from igc.reports.model import Column as Column
    from igc.reports.model import Report as Report

_HOMES = {
    "Column": "igc.reports.model",
    "Report": "igc.reports.model",
    "explain": "igc.reports.explanation",
    "inspect": "igc.reports.inspection",
    "over_budget": "igc.reports.budget",
    "report": "igc.reports.build",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'igc.reports' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
