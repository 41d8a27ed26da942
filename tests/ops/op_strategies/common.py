"""What the families share: shapes, axes, operands that broadcast."""

from __future__ import annotations

from hypothesis import strategies as st
from op_calls import C, T

Draw = st.DrawFn
Shape = tuple[int, ...]

SIZES = st.integers(1, 5)
NUMBERS = st.sampled_from([-1.5, -1.0, -0.5, 0.25, 0.5, 1.0, 2.0])
POSITIVE = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0])


@st.composite
def shapes(draw: Draw, low: int = 1, high: int = 4, least: int = 1) -> Shape:
    """A shape of `low` to `high` axes of `least` to five entries each."""
    rank = draw(st.integers(low, high))
    return tuple(draw(st.lists(st.integers(least, 5), min_size=rank, max_size=rank)))


def axis_of(draw: Draw, rank: int) -> int:
    """An axis, counted from the left or from the right."""
    return draw(st.integers(-rank, rank - 1))


def axes_of(draw: Draw, rank: int, least: int = 1) -> list[int]:
    """Different axes in any order, counted from either side."""
    chosen = draw(st.lists(st.integers(0, rank - 1), min_size=least, unique=True))
    return [a - rank if draw(st.booleans()) else a for a in chosen]


@st.composite
def broadcast(draw: Draw, shape: Shape) -> Shape:
    """A shape that broadcasts to `shape`: axes of one entry, leading axes left out."""
    kept = [n if draw(st.booleans()) else 1 for n in shape]
    return tuple(kept[draw(st.integers(0, len(kept))) :])


def operand(draw: Draw, shape: Shape, kind: str = "float", *, constant: bool = True) -> T | C:
    """An input of exactly this shape, or one or a constant that broadcasts to it."""
    how = draw(st.sampled_from(["full", "input", "constant"] if constant else ["full", "input"]))
    if how == "full":
        return T(shape, kind)
    small = draw(broadcast(shape))
    return T(small, kind) if how == "input" else C(small, kind)


def swapped(draw: Draw, a: T, b: T | C) -> tuple[T | C, T | C]:
    """The two in either order."""
    return (a, b) if draw(st.booleans()) else (b, a)


def per_channel(draw: Draw, width: int, kind: str = "float") -> T | C:
    """One number per channel: a constant, or sometimes an input."""
    return T((width,), kind) if draw(st.integers(0, 3)) == 0 else C((width,), kind)


def bias_of(draw: Draw, width: int, weight: T | C) -> T | C | None:
    """A bias, perhaps none; a constant where the weight may hold rows of zeros."""
    bias = C((width,)) if weight.kind == "sparse" else per_channel(draw, width)
    return bias if draw(st.booleans()) else None


def spatial(draw: Draw, rank: int, least: int = 3, most: int = 6) -> Shape:
    """Height, width, ...: `rank` sizes; small where there are many."""
    most = most if rank < 3 else min(most, 4)
    return tuple(draw(st.integers(least, max(least, most))) for _ in range(rank))


def lead(draw: Draw, batched: bool) -> Shape:
    """The batch, perhaps missing, and the channels in front of height and width."""
    both = (draw(SIZES), draw(SIZES))
    return both if batched or draw(st.booleans()) else both[1:]


def matrix(draw: Draw, shape: Shape) -> T | C:
    """An input, or a constant; some constant matrices have rows or columns of zeros."""
    how = draw(st.sampled_from(["input", "float", "sparse"]))
    sparse = how == "sparse" and len(shape) == 2
    return T(shape) if how == "input" else C(shape, "sparse" if sparse else "float")
