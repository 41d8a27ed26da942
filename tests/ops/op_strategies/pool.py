"""Calls of pooling, resizing and padding."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import Call, T

from igc.ops.pool import SPATIAL_RANK
from op_strategies.common import SIZES, Draw, Shape, shapes, spatial


def _lead(draw: Draw, batched: bool) -> Shape:
    lead = (draw(SIZES), draw(SIZES))
    return lead if batched or draw(st.booleans()) else lead[1:]


@st.composite
def pool(draw: Draw, name: str, rank: int) -> Call:
    """Kernel, stride, padding, dilation, ceil_mode, count_include_pad, divisor."""
    x = T((*_lead(draw, False), *spatial(draw, rank, 3, 6)))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    stride = draw(st.sampled_from([[], [1] * rank, [2] * rank]))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    rest: list[Any] = [kernel, stride, padding]
    if name.startswith("max"):
        dilation = draw(st.sampled_from([1, 1, 2])) if max(x.shape[-rank:]) >= 5 else 1
        dilation = dilation if min(x.shape[-rank:]) >= 5 else 1
        rest += [[dilation] * rank, draw(st.booleans())]
    else:
        rest += [draw(st.booleans()), draw(st.booleans())]
        if rank > 1:
            rest.append(draw(st.sampled_from([None, 3])))
    return Call((x, *rest[: draw(st.integers(1, len(rest)))]))


@st.composite
def adaptive(draw: Draw, rank: int) -> Call:
    """Any output size, larger than the input too."""
    x = T((*_lead(draw, False), *spatial(draw, rank, 1, 6)))
    return Call((x, [draw(st.integers(1, 5)) for _ in range(rank)]))


@st.composite
def resize(draw: Draw, name: str, rank: int) -> Call:
    """To a size or by a factor; aligned corners or not."""
    x = T((*_lead(draw, True), *spatial(draw, rank, 2, 5)))
    corners = [] if "nearest" in name else [draw(st.booleans())]
    factors = [draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.7])) for _ in range(rank)]
    sizes = [int(n * f) for n, f in zip(x.shape[-rank:], factors, strict=True)]
    if not name.endswith(".vec"):
        given = draw(st.booleans())
        return Call((x, sizes, *corners, *(factors if given else [])))
    return Call((x, sizes, *corners, None) if draw(st.booleans()) else (x, None, *corners, factors))


@st.composite
def edge_pad(draw: Draw, name: str, rank: int) -> Call:
    """Reflection (at most one less than the axis) and replication."""
    x = T((*_lead(draw, False), *spatial(draw, rank, 2, 5)))
    most = min(x.shape[-rank:]) - (1 if name.startswith("reflection") else 0)
    return Call((x, [draw(st.integers(0, min(most, 3))) for _ in range(2 * rank)]))


def _amounts(draw: Draw, shape: Shape, axes: int) -> list[int]:
    """Numbers to add before and after each of the last axes; negative ones cut."""
    amounts: list[int] = []
    for n in reversed(shape[len(shape) - axes :]):
        before = draw(st.integers(-(n - 1), 2)) if draw(st.booleans()) else 0
        after = draw(st.integers(-(n - 1) - min(before, 0), 2)) if draw(st.booleans()) else 0
        amounts += [before, after]
    return amounts


@st.composite
def constant_pad(draw: Draw) -> Call:
    """Constants around any of the last axes, or parts cut off."""
    shape = draw(shapes())
    amounts = _amounts(draw, shape, draw(st.integers(1, len(shape))))
    note = "windows" if min(amounts) < 0 else ""
    return Call((T(shape), amounts, draw(st.sampled_from([0.0, 0.5]))), note=note)


@st.composite
def pad(draw: Draw) -> Call:
    """pad in every mode."""
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "replicate", "circular"]))
    if mode == "constant":
        call = draw(constant_pad())
        x, amounts, value = call.args
        rest = draw(st.sampled_from([[], ["constant"], ["constant", value], ["constant", None]]))
        return Call((x, amounts, *rest), note=call.note)
    rank = draw(st.integers(1, 3))
    x = T((*_lead(draw, False), *spatial(draw, rank, 2, 4)))
    most = min(x.shape[-rank:]) - (1 if mode == "reflect" else 0)
    return Call((x, [draw(st.integers(0, min(most, 2))) for _ in range(2 * rank)], mode))


def _spatial(name: str, rank: int) -> st.SearchStrategy[Call]:
    if "adaptive" in name:
        return adaptive(rank)
    if "pool" in name:
        return pool(name, rank)
    return edge_pad(name, rank) if "pad" in name else resize(name, rank)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{f"aten.{name}": _spatial(name, rank) for name, rank in SPATIAL_RANK.items()},
    "aten.pad.default": pad(),
    "aten.constant_pad_nd.default": constant_pad(),
}
