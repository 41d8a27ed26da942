"""The report as data; every writer reads `Report.to_dict()` and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from igc.analysis.cost import Cost, Share
from igc.reports.writers import WRITERS
from igc.version import __version__

SCHEMA = 1


@dataclass(frozen=True)
class Column:
    """One network of the report: its cost, or `why` it is not available; `files` in bytes."""

    cost: Cost | None
    why: str = ""
    files: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        cost = self.cost
        if cost is None:
            return {"available": False, "why": self.why}
        return {
            "available": True,
            "macs": cost.macs,
            "flops": cost.flops,
            "params": cost.params,
            "buffers": cost.buffers,
            "bytes": cost.bytes,
            "peak_bytes": cost.peak_bytes,
            "files": dict(sorted(self.files.items())),
            "uncounted": list(cost.uncounted),
        }


@dataclass(frozen=True)
class Report:
    """What a network costs for one input, in up to four columns.

    `columns` are "gated" (the network as given), "static" (compiled), "all_open" and
    "all_closed" (compiled with every gate open or closed), or "onnx" alone. `main` names the one
    whose total counts against a budget. `open_share[layer][task]` is the share of open gates.
    """

    network: str
    columns: dict[str, Column]
    main: str
    open_share: dict[str, dict[str, float]] = field(default_factory=dict)
    passes: tuple[dict[str, Any], ...] = ()
    opaque: tuple[dict[str, Any], ...] = ()
    declined: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def cost(self) -> Cost:
        """The cost of the main column."""
        cost = self.columns[self.main].cost
        assert cost is not None
        return cost

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the same for the same network: no times, no dates."""
        cost = self.cost
        return {
            "schema": SCHEMA,
            "igc": __version__,
            "network": self.network,
            "main": self.main,
            "input_shapes": [list(shape) for shape in cost.input_shapes],
            "outputs": list(cost.outputs),
            "total": self.columns[self.main].to_dict(),
            "columns": {name: column.to_dict() for name, column in self.columns.items()},
            "tasks": [self._task(task) for task in cost.outputs],
            "sharing": self._sharing(),
            "layers": self._layers(),
            "gates": {layer: dict(by) for layer, by in self.open_share.items()},
            "passes": [dict(row) for row in self.passes],
            "opaque": [dict(row) for row in self.opaque],
            "declined": [dict(row) for row in self.declined],
            "warnings": list(self.warnings),
        }

    def text(self, form: str) -> str:
        """The report in one of the formats of `igc.reports.writers.WRITERS`."""
        return WRITERS[form](self.to_dict())

    def to_json(self) -> str:
        """The report as JSON, with a final newline."""
        return self.text("json")

    def to_markdown(self) -> str:
        """The report as Markdown tables."""
        return self.text("md")

    def to_csv(self) -> str:
        """The report as one flat table: section, name, column, macs, flops, params."""
        return self.text("csv")

    def to_html(self) -> str:
        """The report as one self-contained page, with the gate map and MACs per layer as bars."""
        return self.text("html")

    def __str__(self) -> str:
        return self.to_markdown()

    def _known(self) -> dict[str, Cost]:
        """The columns that can be compared part by part."""
        found = {n: c.cost for n, c in self.columns.items() if c.cost is not None}
        return {n: c for n, c in found.items() if n in ("gated", self.main)}

    def _task(self, task: str) -> dict[str, Any]:
        """What only this task needs, and all that it needs, in every comparable column."""
        row: dict[str, Any] = {"task": task}
        for name, cost in self._known().items():
            parts = cost.by_tasks().items()
            row[name] = {
                "alone": share(_sum(s for tasks, s in parts if tasks == (task,))),
                "needed": share(_sum(s for tasks, s in parts if task in tasks)),
            }
        return row

    def _sharing(self) -> list[dict[str, Any]]:
        """Cost by the exact set of tasks that need it, fewest tasks first."""
        known = {name: cost.by_tasks() for name, cost in self._known().items()}
        sets = dict.fromkeys(tasks for parts in known.values() for tasks in parts)
        order = {task: i for i, task in enumerate(self.cost.outputs)}
        ranked = sorted(sets, key=lambda t: (len(t), [order.get(x, len(order)) for x in t]))
        return [
            {
                "tasks": list(tasks),
                **{n: share(parts.get(tasks, Share(0, 0))) for n, parts in known.items()},
            }
            for tasks in ranked
            if any(parts.get(tasks, Share(0, 0)) != Share(0, 0) for parts in known.values())
        ]

    def _layers(self) -> list[dict[str, Any]]:
        """Cost by layer, without layers that cost nothing."""
        known = {name: cost.by_layer() for name, cost in self._known().items()}
        layers = dict.fromkeys(layer for parts in known.values() for layer in parts)
        return [
            {
                "layer": layer,
                **{n: share(parts.get(layer, Share(0, 0))) for n, parts in known.items()},
            }
            for layer in layers
            if any(parts.get(layer, Share(0, 0)) != Share(0, 0) for parts in known.values())
        ]


def share(part: Share) -> dict[str, int]:
    """MACs, FLOPs and parameters as plain data."""
    return {"macs": part.macs, "flops": part.flops, "params": part.params}


def _sum(parts: Any) -> Share:
    found = list(parts)
    return Share(sum(p.macs for p in found), sum(p.params for p in found))
