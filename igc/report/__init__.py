"""Reports: what a network costs, gated against static, as data, Markdown, CSV, HTML."""

from igc.report.budget import over_budget
from igc.report.build import report
from igc.report.model import Column, Report

__all__ = ["Column", "Report", "over_budget", "report"]
