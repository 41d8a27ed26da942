"""No operation falls between the tables: what lacks an entry anywhere has a written reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.ops import FAMILIES, TABLE
from igc.ops.allowed import ATEN
from igc.ops.macs import COUNTED_OPS, is_free
from igc.testing.op_gaps import GAPS
from igc.testing.op_table import rows, stale, unexplained
from igc_cli.main import run

REVIEWED = Path(__file__).with_name("reviewed.txt")


def test_every_gap_has_a_reason_and_every_reason_a_gap() -> None:
    assert unexplained() == []
    assert stale() == []


def test_every_operation_has_one_row() -> None:
    names = [row.name for row in rows()]
    assert sorted(names) == sorted(ATEN) and len(set(names)) == len(names)
    assert {row.name for row in rows() if "relation" not in row.lacks()} == set(TABLE)


def test_a_gap_without_a_reason_is_named() -> None:
    less = {column: {} for column in GAPS}
    found = unexplained(less)
    assert "aten.exp2.default: onnx" in found and "aten.topk.default: audit" in found
    assert "aten.relu.default: onnx" not in found


def test_a_reason_for_what_is_there_is_named() -> None:
    more = {**GAPS, "onnx": {**GAPS["onnx"], "no longer so": "relu"}}
    assert stale(more) == ["relu: onnx"]


def test_the_operations_of_stored_graphs_are_those_that_were_reviewed() -> None:
    """A new one is read for what it may do to whoever loads the file, then added to the list."""
    assert sorted(ATEN) == REVIEWED.read_text().split()


def test_every_rule_is_counted_or_free() -> None:
    """An op with a rule is of known cost: no budget fails for want of a number."""
    for name in TABLE:
        packet, overload = name.removeprefix("aten.").split(".")
        target = getattr(getattr(torch.ops.aten, packet), overload)
        assert packet in COUNTED_OPS or is_free(target), name


def test_families_have_the_same_names_everywhere() -> None:
    from igc.emit.onnx.lower import FAMILIES as LOWERED

    beyond = {"recurrent"}  # lowered, and without a rule
    assert set(LOWERED) - set(FAMILIES) <= beyond
    homes = {base: family for family, module in LOWERED.items() for base in module.RULES}
    for family, module in FAMILIES.items():
        for name in module.RULES:
            base = name.split(".")[1]
            assert homes.get(base, family) == family, name


class Calls(nn.Module):
    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.call = nn.Linear(4, 6), call

    def forward(self, x: Tensor) -> Any:
        return self.call(self.layer(x))


@pytest.mark.parametrize(
    "call",
    {
        "where.ScalarOther": lambda x: torch.where(x > 0, x, 0.0),
        "where.ScalarSelf": lambda x: torch.where(x > 0, 0.0, x),
        "where.Scalar": lambda x: x * torch.where(x > 0, 1.0, 0.0),
        "max.dim": lambda x: x.max(1).values,
        "min.dim": lambda x: tuple(x.min(1)),
        "masked_fill.Tensor": lambda x: x.masked_fill(x > 0, torch.tensor(2.0)),
        "rsub.Tensor": lambda x: torch.rsub(x, x.abs()),
    }.values(),
)
def test_a_budget_holds_whatever_else_is_called(
    call: Callable[[Tensor], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    macs = 4 * 6
    igc.save(Calls(call).eval(), tmp_path / "net.pt", torch.randn(2, 4))
    igc.compile(tmp_path / "net.pt").save(tmp_path / "static.pt")
    assert run(["report", str(tmp_path / "static.pt"), "--max-macs", str(macs)]) == 0
    assert run(["report", str(tmp_path / "static.pt"), "--max-macs", str(macs - 1)]) == 1
    assert "cannot" not in capsys.readouterr().err
