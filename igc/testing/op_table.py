"""What igc knows of each operation, one row each, read off the tables of all rooms.

A table that lacks an operation says why beside itself: `igc.ops.opaque`, `igc.ops.macs.UNKNOWN`,
`igc.emit.onnx.lower.missing`, `igc.emit.torch.missing`, `igc.audit.surrogates.MISSING`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from igc.audit import surrogates
from igc.capture.composite import WRITTEN_OUT, is_composite
from igc.capture.export import UNDERSTOOD
from igc.capture.normalize import SPELLED
from igc.capture.rewrites.table import REWRITES
from igc.emit.onnx.lower import has_form
from igc.emit.onnx.lower.missing import BY_TORCH, REFUSED
from igc.emit.torch import missing as unwritten
from igc.emit.torch.calls import has_text
from igc.emit.torch.modules import RULES as LAYERS
from igc.ops import FAMILIES
from igc.ops.allowed import allowed
from igc.ops.facts import Rule, kinds
from igc.ops.macs import COUNTED_OPS, UNKNOWN, is_free
from igc.ops.opaque import WITHOUT_RULE, WRITTEN
from igc.program.schema import base_name

LACKING = "-"
COLUMNS = ("relation", "macs", "onnx", "text", "audit")
#: By column, then by reason: the operations that lack an entry there, perhaps without overload.
Gaps = Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True)
class OpRow:
    """One operation, by its full name; `LACKING` in a column where it has no entry.

    `relation` is that of the rule, `macs` "counted" or "0", `onnx` "direct" where igc writes the
    nodes itself, otherwise "torch" or "refused"; `text` "layer" or "PyTorch" where source reads as
    a person would write it, `audit` "by entry" where the auditor knows what each entry may read.
    `words` is the rule's first sentence. One that capture writes as others is "written", and no
    table behind capture has to know it.
    """

    family: str
    name: str
    relation: str
    macs: str
    onnx: str
    text: str
    audit: str
    words: str = ""

    def lacks(self) -> list[str]:
        """The columns in which the operation should have an entry and has none."""
        if self.relation == "written":
            return ["relation"] + ["macs"] * (self.macs == LACKING)
        without = {LACKING, "torch", "refused"}
        return [column for column in COLUMNS if getattr(self, column) in without]


def rows() -> Iterator[OpRow]:
    """Every operation that a program may hold, by family, those with a rule first."""
    for family in dict.fromkeys((*FAMILIES, *WITHOUT_RULE)):
        rules: Mapping[str, Rule] = FAMILIES[family].RULES if family in FAMILIES else {}
        for name in (*rules, *WITHOUT_RULE.get(family, ())):
            yield _row(family, name, rules.get(name))


def gaps() -> Gaps:
    """What each table says of the operations that it lacks."""
    relation: dict[str, set[str]] = {}
    for names in WITHOUT_RULE.values():
        for name, why in names.items():
            relation.setdefault(why, set()).add(name.removeprefix("aten."))
    by_torch = {f"torch.onnx.export writes it: {why}": names for why, names in BY_TORCH.items()}
    refused = {f"refused: {why}": names for why, names in REFUSED.items()}
    return {
        "relation": {why: frozenset(names) for why, names in relation.items()},
        "macs": UNKNOWN,
        "onnx": _split({**by_torch, **refused}),
        "text": _split(unwritten.MISSING),
        "audit": _split(surrogates.MISSING),
    }


def reason(name: str, column: str, told: Gaps) -> str:
    """Why the operation lacks an entry there; empty where nobody has said so."""
    return next((why for why, names in told[column].items() if _named(name) & names), "")


def unexplained(told: Gaps) -> list[str]:
    """A line for every operation that lacks an entry without a written reason."""
    return [
        f"{row.name}: {column}"
        for row in rows()
        for column in row.lacks()
        if not reason(row.name, column, told)
    ]


def stale(told: Gaps) -> list[str]:
    """A line for every reason that explains nothing, or is a second one: it has to go."""
    lacking = [(column, _named(row.name)) for row in rows() for column in row.lacks()]
    found = []
    for column, reasons in told.items():
        listed = [name for names in reasons.values() for name in sorted(names)]
        here = set().union(*(names for where, names in lacking if where == column))
        found += [f"{name}: {column}" for name in dict.fromkeys(listed)
                  if name not in here or listed.count(name) > 1]  # fmt: skip
    return found


def written_out(op: torch._ops.OpOverload) -> bool:
    """Whether capture writes an operation as others, where it can."""
    rewritten = op in REWRITES or op in SPELLED or op in WRITTEN_OUT
    return rewritten or is_composite(op, UNDERSTOOD)


def _split(told: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {why: frozenset(names.split()) for why, names in told.items()}


def _named(name: str) -> set[str]:
    """`conv2d.default` and `conv2d` for `aten.conv2d.default`."""
    return {name.removeprefix("aten."), name.split(".")[1]}


def _row(family: str, name: str, rule: Rule | None) -> OpRow:
    op = allowed()[name]
    assert isinstance(op, torch._ops.OpOverload)
    base = base_name(op)
    macs = "counted" if base in COUNTED_OPS else "0" if is_free(op) else LACKING
    if rule is None and WITHOUT_RULE[family][name] == WRITTEN:
        return OpRow(family, name, "written", macs, LACKING, LACKING, LACKING)
    by_torch = any(_named(name) & set(names.split()) for names in BY_TORCH.values())
    return OpRow(
        family,
        name,
        relation=" or ".join(f"`{kind.__name__}`" for kind in kinds(rule)) if rule else LACKING,
        macs=macs,
        onnx="direct" if has_form(op) else "torch" if by_torch else "refused",
        text="layer" if name in LAYERS else "PyTorch" if has_text(op) else LACKING,
        audit="by entry" if surrogates.surrogate(base, op, None) is not None else LACKING,
        words=" ".join((inspect.getdoc(rule) or "").split("\n\n")[0].split()) if rule else "",
    )
