"""Generated settings of a call: kept channels of the output, dynamic axes, known channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from op_calls import Call, Known, Setting, program_of
from op_properties import is_legal
from op_strategies import STRATEGIES

from igc.program.execute import execute

Draw = st.DrawFn
# Values that a known channel may have, within what the op takes.
VALUES = {
    "float": [0.0, 0.0, 1.0, -0.5, 2.0],
    "positive": [0.5, 1.0, 2.0],
    "above": [1.5, 2.0],
    "unit": [0.25, 0.5],
    "digits": [0.0, 1.0, -2.0],
    "mask": [0.0, 1.0],
}


def target_of(name: str) -> Any:
    """The overload of an op by its name in the table."""
    _, op, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, op), overload)


@st.composite
def settings_of(draw: Draw, name: str) -> Setting:
    """A call of the op, cut along up to two axes; one in four each has dynamic axes or knowns."""
    setting = Setting(target_of(name), draw(STRATEGIES[name]), seed=draw(st.integers(0, 99)))
    (out,) = execute(program_of(setting), setting.inputs())
    setting = replace(setting, keep=_keep(draw, tuple(out.shape)))
    how = draw(st.sampled_from(["plain", "plain", "dynamic", "known"]))
    if how == "dynamic":
        axes = draw(st.sets(st.integers(0, 3), min_size=1, max_size=2))
        other = replace(setting, dynamic=frozenset(axes))
        return other if is_legal(other) else setting
    return replace(setting, known=_known(draw, setting.call)) if how == "known" else setting


def _keep(draw: Draw, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
    keep: list[tuple[int, ...] | None] = [None] * len(shape)
    if shape:
        for axis in draw(st.sets(st.integers(0, len(shape) - 1), max_size=2)):
            numbers = st.integers(0, shape[axis] - 1)
            keep[axis] = tuple(draw(st.lists(numbers, min_size=1, max_size=4, unique=True)))
    return tuple(keep)


def _known(draw: Draw, call: Call) -> dict[int, Known]:
    if not call.inputs:
        return {}
    number = draw(st.integers(0, len(call.inputs) - 1))
    spec = call.inputs[number]
    if spec.kind not in VALUES or not spec.shape:
        return {}
    axis = draw(st.integers(0, len(spec.shape) - 1))
    n = spec.shape[axis]
    mask = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    values = draw(st.lists(st.sampled_from(VALUES[spec.kind]), min_size=n, max_size=n))
    return {number: Known(axis, tuple(mask), tuple(values))}
