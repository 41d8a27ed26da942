"""Lines put in order, and the entry that stands at a given place of that order."""

from __future__ import annotations

from igc.ops.facts import Rule
from igc.ops.reduce import along, reduction

RULES: dict[str, Rule] = {
    "aten.sort.default": along,
    "aten.sort.stable": along,
    "aten.argsort.default": along,
    "aten.topk.default": along,
    "aten.median.dim": reduction("none"),
    "aten.mode.default": reduction("none"),
    "aten.kthvalue.default": reduction("none"),
}
