"""The checks of op rules fail where a rule is wrong or too cautious, and limits are real ones."""

from __future__ import annotations

from typing import Any

import op_properties
import pytest
import torch
from op_calls import C, Call, Known, S, Setting, T
from op_properties import check_exact, check_known, check_nudge, check_slice
from op_settings import target_of
from torch import fx

from igc.ops import TABLE, Facts
from igc.ops.facts import kinds
from igc.ops.limits import LIMITS, OPAQUE
from igc.ops.pointwise import pointwise
from igc.ops.pool import spatial
from igc.ops.relations import Opaque, Pointwise, Relation, Take
from igc.program.nodes import args_of

aten = torch.ops.aten
X = T((3, 4))
Patch = pytest.MonkeyPatch


def opaque(node: fx.Node, facts: Facts) -> Opaque:
    return Opaque()


def fixed_size(node: fx.Node, facts: Facts) -> Relation:
    """A flip of axis 0 as it is at the example's size."""
    x = args_of(node)[0]
    return Take(x, 0, torch.arange(facts.shape(x)[0]).flip(0).numpy())


def wrong_end(node: fx.Node, facts: Facts) -> Relation:
    return Take(args_of(node)[0], 1, torch.arange(2).numpy())


def last_axis_whole(node: fx.Node, facts: Facts) -> Pointwise:
    return spatial(node, facts, 1)


def any_survives(node: fx.Node, facts: Facts) -> Pointwise:
    return spatial(node, facts, 1, "same")


def test_a_rule_that_reads_too_little_fails_the_nudge(monkeypatch: Patch) -> None:
    setting = Setting(aten.cumsum.default, Call((X, 1)), (None, (3,)))
    check_nudge(setting)
    monkeypatch.setitem(TABLE, "aten.cumsum.default", pointwise)
    with pytest.raises(AssertionError, match="moves its output"):
        check_nudge(setting)


def test_a_rule_that_takes_other_channels_fails_slicing(monkeypatch: Patch) -> None:
    setting = Setting(aten.narrow.default, Call((X, 1, -2, 2)), ((1,), None))
    check_slice(setting)
    monkeypatch.setitem(TABLE, "aten.narrow.default", wrong_end)
    with pytest.raises(AssertionError, match="differs"):
        check_slice(setting)


def test_a_rule_for_one_size_fails_at_another(monkeypatch: Patch) -> None:
    setting = Setting(aten.flip.default, Call((X, [0])), (None, (1, 2)), frozenset({0}))
    check_slice(setting)
    monkeypatch.setitem(TABLE, "aten.flip.default", fixed_size)
    with pytest.raises(AssertionError, match=r"differs at sizes \{'s0_3': 6\}"):
        check_slice(setting)


def test_a_rule_that_makes_up_constants_fails(monkeypatch: Patch) -> None:
    known = {0: Known(0, (True, False), (2.0, 0.0))}
    setting = Setting(aten.avg_pool1d.default, Call((T((2, 4)), [2], [2], [1])), known=known)
    check_known(setting)
    monkeypatch.setitem(TABLE, "aten.avg_pool1d.default", any_survives)
    with pytest.raises(AssertionError, match="is not constant"):
        check_known(setting)


@pytest.mark.parametrize(
    ("rule", "words"), [(opaque, "opaque without need"), (last_axis_whole, "could follow")]
)
def test_a_rule_that_is_too_cautious_fails(rule: object, words: str, monkeypatch: Patch) -> None:
    setting = Setting(aten.relu.default, Call((X,)), ((0,), None))
    check_exact(setting)
    monkeypatch.setitem(TABLE, "aten.relu.default", rule)
    with pytest.raises(AssertionError, match=words):
        check_exact(setting)


def test_a_channel_read_without_need_is_found(monkeypatch: Patch) -> None:
    setting = Setting(aten.mul.Tensor, Call((T((4, 3)), C((3,), "mask", (0.0, 1.0, 0.0)))))
    check_exact(setting)
    monkeypatch.setitem(TABLE, "aten.mul.Tensor", lambda n, f: TABLE["aten.hypot.default"](n, f))
    monkeypatch.setattr(op_properties, "kinds", lambda rule: (object,))
    with pytest.raises(AssertionError, match="does not read channel 0 of axis 1"):
        check_exact(setting)


Q, K = T((2, 2)), T((3, 2))
HEADS = (T((1, 4, 2, 2)), T((1, 2, 3, 2)), T((1, 2, 3, 2)))
SDPA = aten.scaled_dot_product_attention.default


def _conv(name: str, rank: int) -> Any:
    name = name.format(rank)
    name += ("default" if rank == 1 else "input") if name.endswith(".") else ""
    return target_of(f"aten.{name}")


CASES: dict[str, list[Setting]] = {
    "windows": [Setting(aten.max_pool1d.default, Call((T((1, 2, 4)), [1])))],
    "groups": [
        Setting(aten.conv1d.default, Call(
            (T((1, 4, 5)), T((4, 2, 1)), None, [1], [0], [1], 2), note="groups"
        ), (None, (0,), None)),
    ],
    "blocks": [
        Setting(aten.group_norm.default, Call((T((1, 4, 2)), 2, T((4,))), note="blocks"),
                (None, (0,), None)),
    ],
    "pixels": [
        Setting(aten.pixel_unshuffle.default, Call((T((1, 4, 4)), 2), note="pixels"),
                ((0,), None, None)),
    ],
    "reshape": [
        Setting(aten.reshape.default, Call((T((4, 6)), [6, 4]), note="reshape"), ((0,), None)),
    ],
    "coefficients": [
        Setting(aten.logical_and.default, Call(
            (T((2,), "bool"), C((2,), "bool", (0.0, 1.0))), note="coefficients"
        )),
    ],
    "zero scale": [
        Setting(aten.layer_norm.default, Call(
            (T((2, 3)), [3], C((3,), values=(0.0,))), note="zero scale"
        )),
    ],
    "causal": [Setting(SDPA, Call((Q, K, K, None, 0.0, True), note="causal"))],
    "masked tokens": [
        Setting(SDPA, Call((Q, K, K, C((2, 3), "bool", (1.0, 1.0, 0.0))), note="masked tokens")),
    ],
    "shared heads": [Setting(SDPA, Call(HEADS, {"enable_gqa": True}, "shared heads"))],
    "bound": [Setting(aten.slice.Tensor, Call((X, 1, 0, S(0, 0)), note="bound"))],
    "table": [
        Setting(aten.index.Tensor, Call((X, [C((1, 2), "index", (0, 1))]), note="table")),
    ],
    "several axes": [Setting(aten.roll.default, Call((X, [0, 0], [0, 1]), note="several axes"))],
    "repeat": [
        Setting(aten.repeat.default, Call((T((1, 2)), [S(0, 0), S(0, 0)]), note="repeat")),
    ],
    "dynamic": [Setting(aten.select.int, Call((X, 0, 1)), dynamic=frozenset({0}))],
    "training": [
        Setting(aten.batch_norm.default, Call(
            (X, None, None, C((4,)), C((4,)), True, 0.1, 1e-5, False), note="training"
        )),
        Setting(aten.instance_norm.default, Call(
            (T((2, 3, 4)), None, None, C((3,)), C((3,)), True, 0.1, 1e-5, False), note="training"
        )),
        Setting(SDPA, Call((Q, K, K, None, 0.5), note="training")),
    ],
    "flat": [
        Setting(aten.roll.default, Call((X, [1]), note="flat")),
        Setting(aten.repeat_interleave.self_int, Call((X, 2), note="flat")),
    ],
    "squeezed": [
        Setting(aten.squeeze.dim, Call((X, 0), note="squeezed")),
        Setting(aten.squeeze.dims, Call((X, [0, 1]), note="squeezed")),
    ],
    "chosen": [
        Setting(_conv(name, rank), Call(
            (T((1, 2, *[3] * rank)), T((2, 1, *[1] * rank)), None, [1], padding, [rest], S(0, 1)),
            note="chosen",
        ))
        for rank in (1, 2, 3)
        for name, padding, rest in (
            ("conv{}d.default", [0], 1), ("conv{}d.padding", "valid", 1),
            ("conv_transpose{}d.", [0], 0),
        )
    ],
    "crossed": [
        Setting(aten.reshape.default, Call((T((2, 2)), [2, -1]), note="reshape"),
                dynamic=frozenset({0})),
    ],
}  # fmt: skip


@pytest.mark.parametrize("limit", CASES)
def test_limits_are_reached(limit: str, monkeypatch: Patch) -> None:
    """A limit that excuses nothing any more has to go."""
    for setting in CASES[limit]:
        check_exact(setting)
    monkeypatch.setattr(op_properties, "excused", lambda *given: False)
    monkeypatch.setattr(op_properties, "may_be_opaque", lambda setting: False)
    for setting in CASES[limit]:
        with pytest.raises(AssertionError):
            check_exact(setting)


def test_every_limit_has_a_case() -> None:
    assert set(CASES) == {*LIMITS, *OPAQUE}
    declared = {name for name, rule in TABLE.items() if Opaque in kinds(rule)}
    assert declared == {str(s.op) for limit in OPAQUE for s in CASES[limit]}
