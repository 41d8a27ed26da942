"""Rich tables, drawn from the plain dictionaries that the library returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
Cells = Sequence[str | Text]
BAR = 10  # characters


def console() -> Console:
    """Standard output; without a terminal, wide enough that no table is cut."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=max(found.width, 160))


def _text(said: str, style: str = "") -> Text:
    """A text without what a terminal would obey."""
    from igc.errors import clean

    return Text(clean(said), style=style)


def table(title: str, head: Sequence[str], rows: Sequence[Cells]) -> Group:
    """A title above a plain table; the first column aligns left, all others right."""
    made = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(head):
        made.add_column(_text(name), justify="right" if i else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in row))
    return Group(_text(title, style="bold"), made)


def compiled(outcome: Row, checks: Sequence[str]) -> None:
    """Prints what `igc compile` did: the checks, the costs, the files."""
    out = console()
    for check in checks or ["not verified (--no-verify)"]:
        out.print(_text(check), soft_wrap=True)
    if outcome["report"] is not None:
        out.print(totals(outcome["report"]))
        _remarks(out, outcome["report"])
    for path in outcome["written"].values():
        out.print(_text(f"wrote {path}"), soft_wrap=True)


def demo(outcome: Row, check: str) -> None:
    """Prints what `igc demo` did: the check, the costs, pictures, accuracies, the files."""
    out = console()
    out.print(_text(check), soft_wrap=True)
    out.print(totals(outcome["report"]))
    _remarks(out, outcome["report"])
    tasks = list(outcome["accuracy"]["compiled"])
    pictures = [
        [row["name"], *(_answer(row["truth"][t], row["predicted"][t]) for t in tasks)]
        for row in outcome["predictions"]
    ]
    out.print(table("Held-out pictures, answered by the ONNX file", ["picture", *tasks], pictures))
    accuracy = [
        [name, *(f"{100 * values[t]:.1f} %" for t in tasks)]
        for name, values in outcome["accuracy"].items()
    ]
    title = f"Accuracy on all {outcome['held_out']} held-out pictures"
    out.print(table(title, ["network", *tasks], accuracy))
    answers = outcome["held_out"] * len(tasks)
    out.print(f"gated and compiled differ in {outcome['differing']} of {answers} answers")
    for path in (outcome["onnx"], outcome["html"]):
        out.print(_text(f"wrote {path}"), soft_wrap=True)


def _answer(truth: str, predicted: str) -> str:
    """The answer, with the true one where it is another."""
    return predicted if predicted == truth else f"{predicted} (is {truth})"


def report(values: Row) -> None:
    """Prints a cost report: networks, tasks, sharing, layers, and what to know about them."""
    out = console()
    out.print(totals(values))
    main = values["main"]
    tasks = [
        [row["task"], *_costs(row[main]["alone"]), *_costs(row[main]["needed"])]
        for row in values["tasks"]
    ]
    head = ["task", *_head("only this task:"), *_head("all that it needs:")]
    out.print(table(f"Tasks ({_label(main)})", head, tasks))
    names = [name for name in ("gated", main) if name in values["columns"]]
    names = list(dict.fromkeys(names))
    heads = [title for name in names for title in _head(f"{_label(name)}:")]
    sharing = [
        [" + ".join(row["tasks"]) or "no output", *_costs(*(row[name] for name in names))]
        for row in values["sharing"]
    ]
    out.print(table("Sharing: cost by the tasks that need it", ["tasks", *heads], sharing))
    layers = [[row["layer"], *_costs(*(row[name] for name in names))] for row in values["layers"]]
    out.print(table("Layers", ["layer", *heads], layers))
    _remarks(out, values)


def totals(values: Row) -> Group:
    """The first table of a report: one row per network that was counted."""
    from igc.reports.words import memory, percent, shape

    columns = values["columns"]
    whole = columns.get("gated", values["total"])
    rows = []
    for name, column in columns.items():
        if not column["available"]:
            continue
        cells = [_label(name), *_costs(column), memory(column["bytes"])]
        if "gated" in columns:
            cells.insert(2, percent(column["macs"], whole["macs"]))
            cells.insert(4, percent(column["params"], whole["params"]))
        cells.append(memory(column["peak_bytes"]))
        cells.append(", ".join(f"{f} {memory(n)}" for f, n in column["files"].items()))
        rows.append(cells)
    head = ["network", *_head(""), "weights", "activation peak", "files"]
    if "gated" in columns:
        head[2:2] = ["of gated"]
        head[4:4] = ["of gated"]
    inputs = ", ".join(shape(sizes) for sizes in values["input_shapes"])
    return table(f"{values['network']}, one input of {inputs}", head, rows)


def _head(of: str) -> list[str]:
    """The column titles that go with `_costs`."""
    return [f"{of} MACs / FLOPs".strip(), "parameters"]


def _costs(*parts: Row) -> list[str]:
    """MACs and FLOPs in one cell, parameters in the next, for every part."""
    from igc.reports.words import count

    return [
        cell
        for part in parts
        for cell in (f"{count(part['macs'])} / {count(part['flops'])}", count(part["params"]))
    ]


def _label(name: str) -> str:
    from igc.reports.words import LABELS

    return LABELS[name]


def _remarks(out: Console, values: Row) -> None:
    """What is missing, warnings, and the ops that igc could not slice through."""
    for name, column in values["columns"].items():
        if not column["available"]:
            out.print(_text(f"no figures for {_label(name)}: {column['why']}"), soft_wrap=True)
    for text in values["warnings"]:
        out.print(_text(f"note: {text}", style="yellow"), soft_wrap=True)
    for row in values["opaque"]:
        why = row["reason"] or "no rule for this op"
        out.print(_text(f"kept whole: {row['layer']} ({row['op']}): {why}"), soft_wrap=True)


def inspection(values: Row) -> None:
    """Prints the share of open gates by layer and task, and each task's share in the mixes."""
    out = console()
    tasks = values["tasks"]
    rows: list[Cells] = [
        (layer, *(_gate(by_task[t]) if t in by_task else "–" for t in tasks))
        for layer, by_task in values["gates"].items()
    ]
    rows.append(("all layers", *(bar(values["open"][task], "green") for task in tasks)))
    out.print(table(f"Open gates of {values['network']}", ["layer", *tasks], rows))
    mixes = [
        (layer, *(bar(by_task.get(t, 0.0), "cyan") for t in tasks))
        for layer, by_task in values["mixes"].items()
    ]
    if mixes:
        title = "Share of each task in the mixes, which the shared branch reads"
        out.print(table(title, ["layer", *tasks], mixes))
    for text in values["warnings"]:
        out.print(_text(f"note: {text}", style="yellow"), soft_wrap=True)


def bar(share: float, colour: str) -> Text:
    """A share from 0 to 1 as a bar and a percentage."""
    full = round(share * BAR)
    found = Text("█" * full, style=colour)
    found.append("·" * (BAR - full), style="dim")
    return found.append(f" {share:4.0%}", style="default")


def _gate(gate: Row) -> Text:
    """A gate as a bar, a percentage, and how many channels are open of how many."""
    return bar(gate["share"], "green").append(f" {gate['open']}/{gate['channels']}", style="dim")
