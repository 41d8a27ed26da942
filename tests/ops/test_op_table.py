"""No operation falls between the tables: what lacks an entry anywhere has a written reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from op_strategies import CALLS
from torch import Tensor, nn

import igc
from igc.emit.onnx.lower import FAMILIES as LOWERED
from igc.errors import BadInput
from igc.ops import FAMILIES, TABLE
from igc.ops.allowed import ATEN, allowed
from igc.ops.macs import COUNTED_OPS, is_free
from igc.ops.opaque import WITHOUT_RULE, WRITTEN
from igc.testing.op_table import COLUMNS, gaps, rows, stale, unexplained, written_out
from igc_cli.main import run

REVIEWED = Path(__file__).with_name("reviewed.txt")


def test_every_gap_has_a_reason_and_every_reason_a_gap() -> None:
    assert unexplained(gaps()) == []
    assert stale(gaps()) == []


def test_every_operation_has_one_row() -> None:
    names = [row.name for row in rows()]
    assert sorted(names) == sorted(ATEN) and len(set(names)) == len(names)
    assert {row.name for row in rows() if "relation" not in row.lacks()} == set(TABLE)


def test_a_gap_without_a_reason_is_named() -> None:
    found = unexplained({column: {} for column in COLUMNS})
    assert {column for line in found for column in COLUMNS if line.endswith(column)} == {*COLUMNS}
    assert "aten.exp2.default: onnx" in found and "aten.topk.default: audit" in found
    assert "aten.relu.default: onnx" not in found


def test_a_reason_for_what_is_there_or_was_told_is_named() -> None:
    told = gaps()
    more = {**told, "onnx": {**told["onnx"], "no longer so": frozenset({"relu", "acosh"})}}
    assert sorted(stale(more)) == ["acosh: onnx", "relu: onnx"]


@pytest.mark.parametrize("family", WITHOUT_RULE)
def test_capture_writes_as_others_what_is_said_to_be_written(family: str) -> None:
    for name, why in WITHOUT_RULE[family].items():
        target = allowed()[name]
        assert isinstance(target, torch._ops.OpOverload)
        assert written_out(target) == (why == WRITTEN), name


class Call(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.op = getattr(torch.ops.aten, name).default

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


@pytest.mark.slow
def test_what_torch_writes_as_onnx_and_what_nobody_does(tmp_path: Path) -> None:
    static = igc.compile(Call("asinh"), torch.randn(2, 3))
    assert igc.export_onnx(static, tmp_path / "asinh.onnx").route == "torch.onnx.export"
    static = igc.compile(Call("digamma"), torch.randn(2, 3))
    with pytest.raises(BadInput, match=r"cannot be written as ONNX.*digamma"):
        igc.export_onnx(static, tmp_path / "digamma.onnx")


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
    assert misplaced(LOWERED, CALLS) == []
    assert set(LOWERED) <= {*FAMILIES, *WITHOUT_RULE}
    homes: dict[str, str] = {}
    for row in rows():
        assert homes.setdefault(row.name.split(".")[1], row.family) == row.family, row.name


def misplaced(
    lowered: Mapping[str, ModuleType], calls: Mapping[str, Mapping[str, object]]
) -> list[str]:
    """The operations that stand in another family than in `igc.ops`, by the table where they do."""
    home = {row.name.split(".")[1]: row.family for row in rows()}
    found = [f"{base}: {family} of lower/" for family, module in lowered.items()
             for base in module.RULES if home.get(base, family) != family]  # fmt: skip
    return found + [
        f"{name}: {family} of the strategies"
        for family, strategies in calls.items()
        for name in strategies
        if name not in FAMILIES[family].RULES
    ]


def test_an_operation_in_another_family_is_named() -> None:
    lowered = {**LOWERED, "conv": LOWERED["linear"], "linear": LOWERED["conv"]}
    assert "matmul: conv of lower/" in misplaced(lowered, CALLS)
    calls = {**CALLS, "sort": CALLS["reduce"]}
    assert "aten.mean.dim: sort of the strategies" in misplaced(LOWERED, calls)


class Calls(nn.Module):
    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.call = nn.Linear(4, 6), call

    def forward(self, x: Tensor) -> Any:
        return self.call(self.layer(x))


CALLED = {
    "where.ScalarOther": lambda x: torch.where(x > 0, x, 0.0),
    "where.ScalarSelf": lambda x: torch.where(x > 0, 0.0, x),
    "where.Scalar": lambda x: x * torch.where(x > 0, 1.0, 0.0),
    "max.dim": lambda x: tuple(x.max(1)),
    "min.dim": lambda x: tuple(x.min(1)),
    "masked_fill.Tensor": lambda x: x.masked_fill(x > 0, x.sum()),
    "rsub.Tensor": lambda x: torch.rsub(x, x.abs()),
}


@pytest.mark.parametrize("name", CALLED)
def test_a_budget_holds_whatever_else_is_called(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    macs = 4 * 6
    igc.save(Calls(CALLED[name]).eval(), tmp_path / "net.pt", torch.randn(2, 4))
    static = igc.compile(tmp_path / "net.pt")
    assert f"aten.{name}" in {str(n.target) for n in static.to_program().graph.nodes}
    static.save(tmp_path / "static.pt")
    for path in (tmp_path / "net.pt", tmp_path / "static.pt"):
        assert run(["report", str(path), "--max-macs", str(macs)]) == 0
        assert run(["report", str(path), "--max-macs", str(macs - 1)]) == 1
    assert "cannot" not in capsys.readouterr().err
