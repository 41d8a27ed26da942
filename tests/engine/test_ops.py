"""Every op rule over generated calls of its op; `op_properties` says what must hold.

IGC_HYPOTHESIS_PROFILE=fuzz draws far more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from op_calls import Setting
from op_properties import check_exact, check_known, check_nudge, check_slice
from op_settings import settings_of, target_of
from op_strategies import STRATEGIES

from igc.ops import TABLE
from igc.ops.listing import FAMILIES, markdown
from igc.ops.pointwise import UNARY

EACH = max(2, settings().max_examples // 8)
ONE_RULE = frozenset(f"aten.{name}.default" for name in UNARY)
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


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_op_of_the_table_exists_and_changes_nothing(name: str) -> None:
    assert not target_of(name)._schema.is_mutable


def test_table_families_and_strategies_list_the_same_ops() -> None:
    assert set(TABLE) == set(STRATEGIES)
    assert list(TABLE) == [name for family in FAMILIES for name in family.RULES]


def test_the_documentation_is_the_table() -> None:
    """If it fails: make docs/ops.md."""
    assert (DOCS / "ops.md").read_text(encoding="utf-8") == markdown()
    assert "ops.md" in (DOCS / "architecture.md").read_text(encoding="utf-8")
