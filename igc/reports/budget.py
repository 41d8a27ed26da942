"""Budgets: does the network fit the device?"""

from __future__ import annotations

from igc.reports.model import Report


def over_budget(
    report: Report, max_macs: float | None = None, max_params: float | None = None
) -> list[str]:
    """One line per budget that the report's main column exceeds; empty where it fits.

    Budgets are in MACs (not FLOPs) for one input, and in parameters; None is no budget. A network
    with ops of unknown cost never fits a MACs budget, since nobody can tell.
    """
    cost, found = report.cost, []
    if max_macs is not None and cost.macs > max_macs:
        found.append(f"{cost.macs:,} MACs, over the budget of {max_macs:,.0f}")
    if max_macs is not None and cost.macs <= max_macs and cost.uncounted:
        found.append(
            f"the MACs of {', '.join(cost.uncounted)} are not known, "
            f"so the budget of {max_macs:,.0f} MACs cannot be checked"
        )
    if max_params is not None and cost.params > max_params:
        found.append(f"{cost.params:,} parameters, over the budget of {max_params:,.0f}")
    return found
