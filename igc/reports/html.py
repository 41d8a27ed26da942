"""The report as one self-contained HTML page: no script, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape as escaped
from typing import Any

from igc.errors import clean
from igc.reports.html_style import STYLE
from igc.reports.markdown import opaque_rows, pass_rows
from igc.reports.words import (
    LABELS,
    compared,
    count,
    part_rows,
    percent,
    shape,
    summary_rows,
    task_rows,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(values: Mapping[str, Any]) -> str:
    """The whole page. Names come from users' files: every one is escaped."""
    title = f"Cost of {values['network']}"
    inputs = ", ".join(shape(s) for s in values["input_shapes"])
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>For one input of {escape(inputs)}. 1 multiply-add = 1 MAC, FLOPs = 2 × MACs.</p>",
        _table(summary_rows(values)),
        *(f'<p class="warning">{escape(text)}</p>' for text in values["warnings"]),
        "<h2>Tasks</h2>",
        _table(task_rows(values)),
        "<h2>Sharing</h2>",
        "<p>Every op and parameter belongs to the set of tasks that need it; the rows add up.</p>",
        _shares(values),
    ]
    if values["gates"]:
        parts += ["<h2>Gate map</h2>", _gate_map(values["gates"])]
    parts += [
        "<h2>MACs per layer</h2>",
        _bars(values),
        _details("Layers as a table", _layers(values)),
    ]
    if values["opaque"]:
        parts += ["<h2>Opaque ops</h2>", _table(opaque_rows(values))]
    if values["passes"]:
        parts.append(_details("Passes", _table(pass_rows(values))))
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n<footer>igc {escape(str(values['igc']))}</footer>\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Text as HTML shows it, in content and in quoted attributes."""
    return escaped(clean(str(text)), quote=True)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ['<div class="wide"><table>', _row(head)]
    for first, *rest in body:
        if rest and rest[0].startswith("not available"):
            cells = f'<td class="text" colspan="{len(rest)}">{escape(rest[0])}</td>'
        else:
            cells = "".join(f"<td>{escape(c)}</td>" for c in rest)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _row(head: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{escape(c)}</th>" for c in head) + "</tr>"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def _layers(values: Mapping[str, Any]) -> str:
    return _table(part_rows(values, "layers", "layer"))


def _shares(values: Mapping[str, Any]) -> str:
    """One bar per set of tasks in the main network."""
    main = values["main"]
    whole = values["total"]["macs"]
    lines = ['<table class="bars">']
    for row in values["sharing"]:
        name = " + ".join(row["tasks"]) or "no output"
        text = f"{count(row[main]['macs'])} MACs, {percent(row[main]['macs'], whole)}, " + (
            f"{count(row[main]['params'])} parameters"
        )
        lines.append(
            f"<tr><th>{escape(name)}</th><td>{_bar(main, row[main]['macs'], whole)}</td>"
            f"<td>{escape(text)}</td></tr>"
        )
    return "\n".join([*lines, "</table>"])


def _gate_map(gates: Mapping[str, Mapping[str, float]]) -> str:
    """Layers down, tasks across; the darker, the more gates are open."""
    tasks = list(dict.fromkeys(task for by_task in gates.values() for task in by_task))
    lines = [
        "<p>Share of open gates: channels that the task computes itself.</p>",
        '<div class="wide"><table class="map">',
        _row(["", *tasks]),
    ]
    for layer, by_task in gates.items():
        cells = "".join(_cell(layer, task, by_task.get(task)) for task in tasks)
        lines.append(f"<tr><th>{escape(layer)}</th>{cells}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _cell(layer: str, task: str, share: float | None) -> str:
    if share is None:
        return "<td></td>"
    ink = "#fff" if share > 0.55 else "#111"
    return (
        f'<td style="background:rgba(11,83,148,{0.04 + 0.92 * share:.3f});color:{ink}" '
        f'title="{escape(layer)}, {escape(task)}: {share:.1%} open">{share:.0%}</td>'
    )


def _bars(values: Mapping[str, Any]) -> str:
    """For every layer one bar per network, all on one scale."""
    names = compared(values)
    rows = [r for r in values["layers"] if any(r[n]["macs"] for n in names)]
    longest = max((r[n]["macs"] for r in rows for n in names), default=0)
    key = " ".join(f'<span class="key {n}"></span> {escape(LABELS[n])}' for n in names)
    lines = [f"<p>{key}</p>", '<table class="bars">']
    for row in rows:
        bars = "".join(_bar(n, row[n]["macs"], longest) for n in names)
        text = " → ".join(count(row[n]["macs"]) for n in names)
        layer = escape(row["layer"])
        lines.append(f"<tr><th>{layer}</th><td>{bars}</td><td>{escape(text)}</td></tr>")
    return "\n".join([*lines, "</table>"])


def _bar(name: str, value: float, longest: float) -> str:
    if not value:
        return '<div class="bar"></div>'
    return f'<div class="bar {name}" style="width:{100 * value / longest:.2f}%"></div>'
