"""Prints the cost columns of the papers: published figure, ours, error, and the exact count.

    python -m benchmarks.paper_tables [--json]

Every network is built from igc.models on meta tensors and counted by benchmarks.counting, so a
run takes seconds and no memory. Figures stand in the unit their table uses, although the papers
print "Flops" over both FLOPs and MACs; the last column has the exact count, MACs and FLOPs both.
Rows that a paper's text does not determine are listed as such below the table, not fitted.
Exits with 1 if a row is further from the paper than its tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks.paper_rows import OPEN, ROWS, Row, mtan_erratum


def describe(row: Row) -> dict[str, Any]:
    """One row as plain data, with MACs and FLOPs where it is about cost."""
    exact = row.exact()
    facts: dict[str, Any] = {
        "paper": row.paper,
        "network": row.network,
        "unit": row.unit,
        "published": row.published,
        "ours": row.ours,
        "error_percent": row.error,
        "tolerance_percent": row.tolerance,
        "note": row.note,
    }
    if row.unit == "M params":
        return {**facts, "params": exact}
    return {**facts, "macs": exact, "flops": 2 * exact}


def exact_text(facts: dict[str, Any]) -> str:
    """The exact count of a row: parameters, or MACs and FLOPs."""
    if "params" in facts:
        return f"{facts['params']:,} parameters"
    return f"{facts['macs']:,} MACs = {facts['flops']:,} FLOPs"


def render(rows: list[dict[str, Any]]) -> str:
    """The table as text, one row a line."""
    lines = [f"{'network':58} {'unit':9} {'paper':>8} {'ours':>9} {'error':>8}  exact"]
    for row in rows:
        lines.append(
            f"{row['network']:58} {row['unit']:9} {row['published']:>8g} {row['ours']:>9.3f} "
            f"{row['error_percent']:>+7.2f}%  {exact_text(row)}"
            + (f"  ({row['note']})" if row["note"] else "")
        )
    lines += ["", "Not reproduced:"]
    mtan = f"{2e-9 * mtan_erratum():.0f} GFLOPs"
    lines += [f"  {o.network}, {o.published}: {o.reason.format(mtan=mtan)}" for o in OPEN]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the tables and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_tables", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args(argv)
    rows = [describe(row) for row in ROWS]
    print(json.dumps(rows, indent=2) if options.json else render(rows))
    off = [row for row in ROWS if abs(row.error) > row.tolerance]
    for row in off:
        text = f"{row.network}: {row.error:+.2f} % off, allowed {row.tolerance} %"
        print(f"paper_tables: {text}", file=sys.stderr)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
