"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from igc.errors import clean
from igc.reports.words import count, part_rows, shape, summary_rows, task_rows


def markdown(values: Mapping[str, Any]) -> str:
    """Tables of the networks, tasks, sharing, gates, layers, passes and opaque ops."""
    inputs = ", ".join(shape(s) for s in values["input_shapes"])
    parts = [
        f"# Cost of {escape(values['network'])}",
        f"For one input of {inputs}; 1 multiply-add = 1 MAC, FLOPs = 2 x MACs. "
        f"Outputs: {', '.join(escape(o) for o in values['outputs'])}.",
        table(summary_rows(values)),
        *(f"**Note:** {escape(text)}" for text in values["warnings"]),
        "## Tasks",
        table(task_rows(values)),
        "## Sharing",
        table(part_rows(values, "sharing", "tasks")),
    ]
    if values["gates"]:
        parts += ["## Open gates", table(gate_rows(values))]
    parts += ["## Layers", table(part_rows(values, "layers", "layer"))]
    if values["passes"]:
        parts += ["## Passes", table(pass_rows(values))]
    if values["opaque"]:
        parts += ["## Opaque ops", table(opaque_rows(values))]
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header, all columns but the first align right."""
    head, *body = rows
    lines = ["| " + " | ".join(escape(c) for c in head) + " |"]
    lines.append("|---" + "|---:" * (len(head) - 1) + "|")
    lines += ["| " + " | ".join(escape(c) for c in row) + " |" for row in body]
    return "\n".join(lines)


def escape(text: str) -> str:
    """A name as Markdown shows it: no markup, no second line, no new table cell."""
    flat = clean(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;")
    return "".join("\\" + c if c in "\\|`*_>[]~$" else c for c in flat)


def gate_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """The share of open gates, layers down and tasks across."""
    tasks = list(dict.fromkeys(task for by_task in values["gates"].values() for task in by_task))
    rows = [["layer", *tasks]]
    for layer, by_task in values["gates"].items():
        cells = [f"{by_task[t]:.0%}" if t in by_task else "–" for t in tasks]
        rows.append([layer, *cells])
    return rows


def pass_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """What every pass left: nodes and constant elements."""
    rows = [["pass", "nodes", "constant elements", "changed"]]
    for row in values["passes"]:
        changed = "yes" if row["changed"] else "no"
        rows.append([row["name"], str(row["nodes"]), count(row["elements"]), changed])
    return rows


def opaque_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """Ops that channels are not sliced through: their own MACs, and why."""
    rows = [["layer", "op", "MACs", "why"]]
    for row in values["opaque"]:
        macs = "not known" if row["macs"] is None else count(row["macs"])
        rows.append([row["layer"], row["op"], macs, row["reason"] or "no rule for this op"])
    return rows
