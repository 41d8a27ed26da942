"""Which claims of a rule a limit excuses; `igc.ops.limits` says why each limit stands.

A call carries the name of the limit it touches in `note`; none excuses a call without one, save
for the ops that work on height and width, and axes whose size the input chooses.
"""

from __future__ import annotations

from op_calls import Setting

from igc.ops import pool, resample
from igc.ops.limits import OPAQUE
from igc.ops.relations import Blocks, Mixing, Pointwise, Regroup, Relation, Select

MAPS = {**pool.SPATIAL_RANK, **resample.SPATIAL_RANK}
# Limits that excuse the axes which the rule declares whole, and no others.
WHOLE_AXES = frozenset({"windows", "shared heads", "bound", "table", "several axes", "repeat"})
# Limits that excuse every axis.
ANY_AXIS = frozenset({"zero scale", "masked tokens", "groups"})


def may_be_opaque(setting: Setting) -> bool:
    """Whether the call is one that no relation describes."""
    crossed = setting.call.note == "reshape" and bool(setting.dynamic)
    return crossed or setting.call.note in OPAQUE


def excused(setting: Setting, rule: Relation, number: int | None, axis: int) -> bool:
    """Whether the rule may be cautious about this axis of this input (`None`: of the output)."""
    note, name = setting.call.note, str(setting.op).removeprefix("aten.")
    if number is None:
        return bool(setting.dynamic) or note in WHOLE_AXES | {"causal", "pixels"} or _spatial(name)
    rank = len(setting.call.inputs[number].shape)
    if axis in setting.dynamic or note in ANY_AXIS:
        return True
    if note in WHOLE_AXES or _spatial(name):
        return axis in _whole(rule, number)
    if note == "reshape":
        assert isinstance(rule, Regroup)
        return any(axis in a and len(a) > 1 and len(b) > 1 for a, b in rule.groups)
    if note == "coefficients":
        return not isinstance(rule, Select)
    if note == "blocks":
        return number > 0
    return axis >= rank - {"pixels": 2, "causal": 2}.get(note, 0) and (
        note != "causal" or axis == rank - 2
    )


def _spatial(name: str) -> bool:
    return name in MAPS or name.startswith(("conv", "reflection_pad", "replication_pad"))


def _whole(rule: Relation, number: int) -> set[int]:
    """The axes of an input that the rule reads whole, the contracted one aside."""
    if isinstance(rule, Mixing):
        pairs = [(rule.x, rule.x_axis), (rule.weight, rule.w_in), (rule.weight, rule.w_out)]
        keep = {at for follow, at in pairs if follow.node.name == f"x{number}"}
        follows = [rule.x, rule.weight]
    elif isinstance(rule, Blocks):
        return set(range(rule.axis + 1, 8))  # height and width, or positions of windows
    else:
        keep, follows = set(), list(rule.operands) if isinstance(rule, Pointwise) else []
    return {
        axis
        for follow in follows
        if follow.node.name == f"x{number}"
        for axis, at in enumerate(follow.axes)
        if at is None and axis not in keep
    }
