"""Every op rule over generated calls of its op; `op_properties` says what must hold.

IGC_HYPOTHESIS_PROFILE=fuzz draws far more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from op_calls import C, Call, S, Setting, T
from op_properties import check_exact, check_known, check_nudge, check_slice
from op_settings import settings_of, target_of
from op_strategies import STRATEGIES

from igc.ops import FAMILIES, TABLE, activation, compare, pointwise
from igc.testing.op_listing import markdown

aten = torch.ops.aten
EACH = max(2, settings().max_examples // 8)
ONE_RULE = frozenset(
    f"aten.{name}.default" for name in (*activation.PLAIN, *pointwise.UNARY, *compare.UNARY)
)
DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_generated_calls(name: str) -> None:
    @settings(max_examples=max(1, EACH // 3) if name in ONE_RULE else EACH)
    @given(settings_of(name))
    def holds(setting: Setting) -> None:
        check_nudge(setting)
        check_slice(setting)
        if setting.known:
            check_known(setting)
        else:
            check_exact(setting)

    holds()


ZERO = C((2, 1), values=(0.0,))
# What generated calls found once; none of it may come back.
FOUND = {
    "a narrow that counts from the end": Setting(
        aten.narrow.default, Call((T((3, 4)), 1, -2, 2)), (None, (1,))
    ),
    "a tensor times itself": Setting(
        aten.matmul.default, Call((T((3, 3), name="x"), T((3, 3), name="x"))), ((0,), (2,))
    ),
    "a tensor plus itself, of a size that the input chooses": Setting(
        aten.add.Tensor, Call((T((2,), name="x"), T((2,), name="x")), {"alpha": -1.5}),
        dynamic=frozenset({0}),
    ),
    "weights that are zero, and a computed bias": Setting(
        aten.conv1d.default, Call(
            (T((1, 2, 3)), C((1, 2, 1), values=(0.0,)), T((1,))), note="zero scale"
        ), (None, (0,), None),
    ),
    "a cut of what is constant": Setting(
        aten.linear.default, Call((T((1, 1)), ZERO, None)), ((0,), None)
    ),
    "a norm with weights that are zero, and a computed bias": Setting(
        aten.batch_norm.default, Call(
            (T((2, 2)), C((2,), values=(0.0,)), T((2,)), C((2,)), C((2,), "positive"), False,
             0.1, 1e-5, False), note="zero scale"
        ), (None, (0,)),
    ),
    "a token of sequences of any length": Setting(
        aten.select.int, Call((T((2, 5, 4)), 1, 0)), (None, (1, 3)), frozenset({1})
    ),
    "a crop to another input's size": Setting(
        aten.slice.Tensor, Call((T((2, 4, 5)), 2, 0, S(0, 1)), note="bound"), (None, (1, 3), None),
        frozenset({2}),
    ),
    "a token repeated for every image": Setting(
        aten.repeat.default, Call((T((2, 1, 4)), [1, S(0, 0), 1]), note="repeat"),
        (None, None, (0, 2)), frozenset({0}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
def test_found_before(what: str) -> None:
    for check in (check_nudge, check_slice, check_exact):
        check(FOUND[what])


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_op_of_the_table_exists_and_changes_nothing(name: str) -> None:
    assert not target_of(name)._schema.is_mutable


def test_table_families_and_strategies_list_the_same_ops() -> None:
    assert set(TABLE) == set(STRATEGIES)
    assert len(TABLE) == sum(len(family.RULES) for family in FAMILIES.values())


def test_the_documentation_is_the_table() -> None:
    """If it fails: make docs/ops.md."""
    assert (DOCS / "ops.md").read_text(encoding="utf-8") == markdown()
    assert "ops.md" in (DOCS / "architecture.md").read_text(encoding="utf-8")
