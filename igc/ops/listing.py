"""docs/ops.md, written from the table: `python -m igc.ops.listing > docs/ops.md`."""

from __future__ import annotations

import inspect
import sys

from igc.ops import FAMILIES, TABLE
from igc.ops.facts import Rule, kinds
from igc.ops.limits import LIMITS, OPAQUE

HEAD = """\
# What igc knows of each operation

Written from the rule table by `make docs/ops.md`; a test compares the two.

A rule says how the output channels of an operation relate to those of its operands
(`igc/ops/relations.py`). "Channel" means an index along any axis, and every axis can be cut unless
its relation needs it whole. An operation that is not listed is `Opaque`: it needs and produces
everything, and the report names it with what it cost.

Every rule is tested over generated arguments (`tests/ops/test_ops.py`) for five properties:
what it says is not read can change without moving the output; the sliced operation gives the same
numbers as slicing its output, at several sizes of its dynamic axes; channels that it says are
constant are; what it says is read does move the output; an axis that it keeps whole mixes its
entries.
"""


def _words(rule: Rule) -> str:
    return " ".join((inspect.getdoc(rule) or "").split("\n\n")[0].split())


def markdown() -> str:
    """The whole page, one table per family."""
    lines = [HEAD]
    for title, family in FAMILIES.items():
        lines += [
            f"## {title}",
            "",
            (family.__doc__ or "").strip(),
            "",
        ]
        lines += ["| operations | relation | rule |", "|---|---|---|"]
        rows: dict[tuple[str, str], list[str]] = {}
        for name, rule in family.RULES.items():
            relation = " or ".join(f"`{kind.__name__}`" for kind in kinds(rule))
            rows.setdefault((relation, _words(rule)), []).append(name.removeprefix("aten."))
        for (relation, words), names in rows.items():
            listed = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {listed} | {relation} | {words.replace('|', '/')} |")
        lines.append("")
    lines += ["## Where a rule is more cautious than it need be", ""]
    lines += [f"- **{name}**: {why}" for name, why in LIMITS.items()]
    lines += ["", "## What no relation describes", ""]
    lines += [f"- **{name}**: {why}" for name, why in OPAQUE.items()]
    lines += ["", f"{len(TABLE)} operations in all.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
