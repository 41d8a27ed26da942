"""Reports as data: what a network costs, what its gates say, why a channel was kept."""

from igc.reports.budget import over_budget
from igc.reports.build import report
from igc.reports.explanation import explain
from igc.reports.inspection import inspect
from igc.reports.model import Column, Report

__all__ = ["Column", "Report", "explain", "inspect", "over_budget", "report"]
