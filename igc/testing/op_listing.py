"""docs/ops.md, written from the tables: `python -m igc.testing.op_listing > docs/ops.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable

from igc.ops import FAMILIES, TABLE
from igc.ops.limits import LIMITS, OPAQUE
from igc.testing.op_table import OpRow, gaps, reason, rows

HEAD = """\
# What igc knows of each operation

Written from the tables by `make docs/ops.md`; a test compares the two.

A rule says how the output channels of an operation relate to those of its operands
(`igc/ops/relations.py`). "Channel" means an index along any axis, and every axis can be cut unless
its relation needs it whole. An operation without a rule is `Opaque`: it needs and produces
everything, and the report names it with what it cost. One that is not listed at all may stand in no
stored graph.

Every rule is tested over generated arguments (`tests/ops/test_ops.py`) for five properties:
what it says is not read can change without moving the output; the sliced operation gives the same
numbers as slicing its output, at several sizes of its dynamic axes; channels that it says are
constant are; what it says is read does move the output; an axis that it keeps whole mixes its
entries.

| column | entry |
|---|---|
| relation | those that the rule returns; *written*: capture writes it as other operations |
| MACs | counted, or 0: it multiplies and adds nothing |
| ONNX | direct: igc writes its nodes; torch: torch.onnx.export writes the file; or refused |
| source text | a layer of `torch.nn`, or PyTorch as people write it; otherwise `torch.ops.aten` |
| audit | by entry: the auditor knows what each entry may read; otherwise it takes all to be read |

`-` is no entry; [below](#where-an-entry-is-missing) stands why. Overloads have their names, but for
`default`.
"""
HEADER = "| operations | relation | MACs | ONNX | source text | audit | rule |\n" + "|---" * 7 + "|"
TITLES = {
    "relation": "Relation",
    "macs": "MACs",
    "onnx": "ONNX",
    "text": "Source text",
    "audit": "Audit",
}


def markdown() -> str:
    """The whole page: one table per family, then limits, and the reasons for what is missing."""
    every = list(rows())
    lines = [HEAD]
    for family in dict.fromkeys(row.family for row in every):
        module = FAMILIES.get(family)
        about = inspect.getdoc(module) if module else "Operations without any rule."
        lines += [f"## {family}", "", about or "", "", HEADER]
        lines += _table(row for row in every if row.family == family)
        lines.append("")
    lines += ["## Where a rule is more cautious than it need be", ""]
    lines += [f"- **{name}**: {why}" for name, why in LIMITS.items()]
    lines += ["", "## What no relation describes", ""]
    lines += [f"- **{name}**: {why}" for name, why in OPAQUE.items()]
    lines += ["", "## Where an entry is missing"]
    told = gaps()
    for column, title in TITLES.items():
        lacking = [row.name for row in every if column in row.lacks()]
        lines += ["", f"### {title}", ""]
        lines += _reasons({name: reason(name, column, told) for name in lacking})
    lines += ["", f"{len(TABLE)} operations with a rule, {len(every) - len(TABLE)} without.", ""]
    return "\n".join(lines)


def _table(family: Iterable[OpRow]) -> list[str]:
    """Operations with the same entries share a line."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in family:
        entries = (row.relation, row.macs, row.onnx, row.text, row.audit, row.words)
        alike.setdefault(entries, []).append(_short(row.name))
    return [
        f"| {', '.join(names)} | {' | '.join(e.replace('|', '/') for e in entries)} |"
        for entries, names in alike.items()
    ]


def _reasons(told: dict[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, why in told.items():
        by_reason.setdefault(why, []).append(_short(name))
    return [f"- {why}: {', '.join(names)}" for why, names in sorted(by_reason.items())]


def _short(name: str) -> str:
    return f"`{name.removeprefix('aten.').removesuffix('.default')}`"


if __name__ == "__main__":
    sys.stdout.write(markdown())
