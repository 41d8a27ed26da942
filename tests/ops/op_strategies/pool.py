"""Calls of pooling and unpooling; of two outputs, one is taken."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from op_calls import Call, T

from igc.ops.pool import SPATIAL_RANK
from op_strategies.common import SIZES, Draw, lead, spatial


@st.composite
def pool(draw: Draw, name: str, rank: int) -> Call:
    """Kernel, stride, padding, dilation, ceil_mode, count_include_pad, divisor."""
    x = T((*lead(draw, False), *spatial(draw, rank, 3, 6)))
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
    x = T((*lead(draw, False), *spatial(draw, rank, 1, 6)))
    return Call((x, [draw(st.integers(1, 5)) for _ in range(rank)]))


@st.composite
def pooled(draw: Draw, rank: int, adaptive: bool = False) -> Call:
    """Windows of two with or without overlap; adaptive ones to one or two lines."""
    x = T((draw(SIZES), draw(SIZES), *spatial(draw, rank)))
    pick = draw(st.integers(0, 1))
    if adaptive:
        return Call((x, [draw(st.integers(1, 2))] * rank), note="windows", pick=pick)
    stride: Any = [draw(st.integers(1, 2))] * rank
    return Call((x, [2] * rank, stride), note="windows", pick=pick)


@st.composite
def unpooled(draw: Draw, rank: int) -> Call:
    """To maps in which there is room for every place."""
    shape = (draw(SIZES), draw(SIZES), *spatial(draw, rank, 1, 2))
    size = [n + 2 for n in shape[2:]]
    rest: tuple[Any, ...] = () if rank == 2 else ([1] * rank, [0] * rank)
    return Call((T(shape), T(shape, "ids"), size, *rest), note="windows")


CALLS: dict[str, st.SearchStrategy[Call]] = {
    **{
        f"aten.{name}": adaptive(rank) if "adaptive" in name else pool(name, rank)
        for name, rank in SPATIAL_RANK.items()
    },
    **{f"aten.max_pool{n}d_with_indices.default": pooled(n) for n in (1, 2, 3)},
    **{f"aten.adaptive_max_pool{n}d.default": pooled(n, adaptive=True) for n in (1, 2, 3)},
    "aten.max_unpool2d.default": unpooled(2),
    "aten.max_unpool3d.default": unpooled(3),
}
