"""The table of operations: pure, and wide enough."""

from __future__ import annotations

import operator

import pytest
import torch

from igc.errors import BadCheckpoint, BadInput
from igc.ops import TABLE
from igc.ops.allowed import ATEN, FROZEN, allowed, lookup, name_of
from igc.program.nodes import SIZE_OPS

OVERLOADS = {n: op for n, op in allowed().items() if isinstance(op, torch._ops.OpOverload)}


def test_no_operation_changes_its_operands_or_names_a_file() -> None:
    for name, op in OVERLOADS.items():
        assert not op._schema.is_mutable, name
        for argument in op._schema.arguments:
            assert "file" not in argument.name, name
            assert argument.alias_info is None or not argument.alias_info.is_write, name


def test_random_operations_are_frozen() -> None:
    for name, op in OVERLOADS.items():
        if torch.Tag.nondeterministic_seeded in op.tags:
            assert name in FROZEN, name
    for name, (argument, _) in FROZEN.items():
        assert argument in {a.name for a in OVERLOADS[name]._schema.arguments}


def test_names_are_distinct_and_go_both_ways() -> None:
    assert len(set(ATEN)) == len(ATEN)
    for name, op in allowed().items():
        assert lookup(name) is op
        assert name_of(op) == name
    assert set(SIZE_OPS) | {operator.getitem} <= set(allowed().values())


@pytest.mark.parametrize(
    "name",
    [
        "aten.from_file.default", "aten.add_.Tensor", "aten.rand.default",
        "aten.empty.memory_format", "aten.nonzero.default", "aten.as_strided.default",
        "aten.item.default", "os.system", "operator.attrgetter", "builtins.eval",
        "aten.add.out", "aten.add", "", "aten..default", "prims.add.default",
        "aten.__class__.default", "aten.conv2d.__call__",
    ],
)  # fmt: skip
def test_everything_else_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadCheckpoint, match="may not use"):
        lookup(name)


def test_saving_an_operation_outside_the_table_names_the_layer() -> None:
    with pytest.raises(BadInput, match=r"layer 'head' calls aten\.nonzero\.default"):
        name_of(torch.ops.aten.nonzero.default, "head")


def test_the_table_holds_every_operation_with_a_rule() -> None:
    assert TABLE
    for name in TABLE:
        packet, overload = name.split(".")[1:]
        op = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if isinstance(op, torch._ops.OpOverload) and _is_on_tensors(op):
            assert name in allowed()


def _is_on_tensors(op: torch._ops.OpOverload) -> bool:
    """Whether the overload takes tensors and returns one; the table also lists idle names."""
    returns = [str(r.type) for r in op._schema.returns]
    return returns == ["Tensor"] and any("Tensor" in str(a.type) for a in op._schema.arguments)
