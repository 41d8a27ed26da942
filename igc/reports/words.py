"""How figures read in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LABELS = {
    "gated": "gated",
    "static": "static",
    "all_open": "all open (single-task networks)",
    "all_closed": "all closed (uniform sharing)",
    "onnx": "ONNX file",
}
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Four digits with a decimal prefix: 1.234 G, 56.78 k, 912."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g}"


def memory(value: float | None) -> str:
    """Bytes with a binary prefix, or a dash where they are not known."""
    if value is None:
        return "–"
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g} B"


def percent(part: float, whole: float) -> str:
    """The part as a percentage of the whole, or a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def shape(sizes: Sequence[int]) -> str:
    """1x3x224x224"""
    return "x".join(map(str, sizes)) or "scalar"


def summary_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """The first table of every report, with its header: one row per network."""
    columns = values["columns"]
    whole = columns.get("gated", values["total"])
    rows = [["network", "MACs", "FLOPs", "of gated", "parameters", "of gated", "weights",
             "activation peak", "files"]]  # fmt: skip
    for name, c in columns.items():
        if not c["available"]:
            rows.append([LABELS[name], f"not available: {c['why']}", *[""] * 7])
            continue
        files = ", ".join(f"{file} {memory(size)}" for file, size in c["files"].items())
        rows.append([
            LABELS[name],
            count(c["macs"]),
            count(c["flops"]),
            percent(c["macs"], whole["macs"]),
            count(c["params"]),
            percent(c["params"], whole["params"]),
            memory(c["bytes"]),
            memory(c["peak_bytes"]),
            files or "–",
        ])  # fmt: skip
    if "gated" not in columns:
        keep = [i for i in range(9) if i not in (3, 5)]
        rows = [[row[i] for i in keep] for row in rows]
    return rows


def compared(values: Mapping[str, Any]) -> list[str]:
    """The columns that have figures per task and per layer, gated first."""
    return [n for n in ("gated", values["main"]) if n in values["columns"]]


def part_rows(values: Mapping[str, Any], section: str, key: str) -> list[list[str]]:
    """The layers or the sharing as a table with its header: MACs, FLOPs, parameters by column."""
    names = compared(values)
    rows = [[key, *(f"{LABELS[n]} {what}" for n in names for what in WHAT)]]
    for row in values[section]:
        name = row[key] if isinstance(row[key], str) else " + ".join(row[key]) or "no output"
        rows.append([name, *(count(row[n][w]) for n in names for w in ("macs", "flops", "params"))])
    return rows


WHAT = ("MACs", "FLOPs", "parameters")


def task_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """Per task and network: what only this task needs, all it needs, and with whom it shares."""
    head = ["task", "network", "MACs, only this task", "MACs, all it needs", "FLOPs, all it needs"]
    head += ["parameters, only this task", "parameters, all it needs", "shares MACs with"]
    rows = [head]
    for row in values["tasks"]:
        for name in compared(values):
            alone, needed = row[name]["alone"], row[name]["needed"]
            rows.append([
                row["task"],
                LABELS[name],
                count(alone["macs"]),
                count(needed["macs"]),
                count(needed["flops"]),
                count(alone["params"]),
                count(needed["params"]),
                partners(values, row["task"], name),
            ])  # fmt: skip
    return rows


def partners(values: Mapping[str, Any], task: str, name: str) -> str:
    """The other tasks that need the same MACs, by set, with how many."""
    found = []
    for row in values["sharing"]:
        others = [t for t in row["tasks"] if t != task]
        if task in row["tasks"] and others and row[name]["macs"]:
            found.append(f"{' + '.join(others)}: {count(row[name]['macs'])}")
    return ", ".join(found) or "none"
