"""What igc knows of each operation, one row each, read off the tables of all rooms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch

from igc.audit.surrogates import surrogate
from igc.emit.onnx.lower import RULES as LOWERED
from igc.emit.torch.calls import SAME_F, SPECIAL, TORCH
from igc.emit.torch.modules import RULES as LAYERS
from igc.ops import FAMILIES
from igc.ops.allowed import allowed
from igc.ops.facts import kinds
from igc.ops.macs import COUNTED_OPS, UNKNOWN, is_free
from igc.ops.opaque import SPELLING, WITHOUT_RULE, WRITTEN
from igc.program.schema import base_name
from igc.testing.op_gaps import GAPS

LACKING = "-"
WRITTEN_OUT = frozenset({WRITTEN, SPELLING})  # these seldom stand in a captured program


@dataclass(frozen=True)
class OpRow:
    """One operation, by its full name; a column that lacks an entry holds `LACKING`.

    `relation` is that of the rule, `macs` "counted" or "0", `onnx` "direct" where igc writes the
    nodes itself, `text` "layer" or "PyTorch" where source reads as a person would write it, `audit`
    "by entry" where the auditor knows what each entry may read.
    """

    family: str
    name: str
    relation: str
    macs: str
    onnx: str
    text: str
    audit: str
    why: str  # it has no rule, where it has none

    def lacks(self) -> list[str]:
        """The columns without an entry."""
        columns = ("relation", "macs", "onnx", "text", "audit")
        return [column for column in columns if getattr(self, column) == LACKING]

    def reason(self, column: str, gaps: Mapping[str, Mapping[str, str]] = GAPS) -> str:
        """Why the operation lacks an entry there; empty where nobody has said so."""
        if column == "relation" or self.why in WRITTEN_OUT:
            return self.why
        if column == "macs":
            known = dict(UNKNOWN)
        else:
            known = {why: frozenset(names.split()) for why, names in gaps.get(column, {}).items()}
        base = self.name.split(".")[1]
        return next((reason for reason, names in known.items() if base in names), "")


def rows() -> Iterator[OpRow]:
    """Every operation that a program may hold, by family, those with a rule first."""
    families = {**FAMILIES, **{name: None for name in WITHOUT_RULE if name not in FAMILIES}}
    for family, module in families.items():
        for name, relation in _relations(module).items():
            yield _row(family, name, relation, "")
        for name, why in WITHOUT_RULE.get(family, {}).items():
            yield _row(family, name, LACKING, why)


def unexplained(gaps: Mapping[str, Mapping[str, str]] = GAPS) -> list[str]:
    """A line for every operation that lacks an entry without a written reason."""
    return [
        f"{row.name}: {column}"
        for row in rows()
        for column in row.lacks()
        if not row.reason(column, gaps)
    ]


def stale(gaps: Mapping[str, Mapping[str, str]] = GAPS) -> list[str]:
    """A line for every reason that explains nothing: the operation has that entry by now."""
    lacking = {(column, row.name.split(".")[1]) for row in rows() for column in row.lacks()}
    return [
        f"{name}: {column}"
        for column, reasons in gaps.items()
        for names in reasons.values()
        for name in names.split()
        if (column, name) not in lacking
    ]


def _relations(module: ModuleType | None) -> dict[str, str]:
    if module is None:
        return {}
    return {
        name: " or ".join(f"`{kind.__name__}`" for kind in kinds(rule))
        for name, rule in module.RULES.items()
    }


def _row(family: str, name: str, relation: str, why: str) -> OpRow:
    target = allowed()[name]
    assert isinstance(target, torch._ops.OpOverload)
    base, overload = base_name(target), name.removeprefix("aten.")
    return OpRow(
        family=family,
        name=name,
        relation=relation,
        macs="counted" if base in COUNTED_OPS else "0" if is_free(target) else LACKING,
        onnx="direct" if base in LOWERED else LACKING,
        text="layer"
        if name in LAYERS
        else "PyTorch"
        if base in TORCH | SAME_F or {base, overload} & SPECIAL.keys()
        else LACKING,
        audit="by entry" if surrogate(base.rstrip("_"), target, None) else LACKING,
        why=why,
    )
