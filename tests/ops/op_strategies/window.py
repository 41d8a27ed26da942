"""Calls between pixels or windows and channels."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st
from op_calls import Call, T

from op_strategies.common import Draw, axis_of, shapes


@st.composite
def unfold(draw: Draw) -> Call:
    """Windows along an axis, overlapping or apart."""
    x = T(draw(shapes()))
    axis = axis_of(draw, len(x.shape))
    size = draw(st.integers(1, x.shape[axis]))
    return Call((x, axis, size, draw(st.integers(1, 3))), note="windows")


@st.composite
def pixels(draw: Draw, shuffle: bool) -> Call:
    """Blocks of r*r channels to and from r times r pixels, with and without a batch."""
    r, width, h, w = (draw(st.integers(1, 2)) for _ in range(4))
    lead = draw(shapes(0, 2))
    shape = (width * r * r, h, w) if shuffle else (width, h * r, w * r)
    return Call((T((*lead, *shape)), r), note="pixels")


@st.composite
def im2col(draw: Draw) -> Call:
    """Windows of an image, dilated, padded and strided, with and without a batch."""
    kernel, dilation, padding, stride, image = draw(windows())
    lead = draw(st.sampled_from([(), (1,), (2,)]))
    shape = (*lead, draw(st.integers(1, 3)), *image)
    return Call((T(shape), kernel, dilation, padding, stride), note="windows")


@st.composite
def col2im(draw: Draw) -> Call:
    """The way back: windows that overlap are summed."""
    kernel, dilation, padding, stride, image = draw(windows())
    places = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, d, p, s in zip(image, kernel, dilation, padding, stride, strict=True)
    ]
    lead = draw(st.sampled_from([(), (1,), (2,)]))
    shape = (*lead, draw(st.integers(1, 3)) * prod(kernel), prod(places))
    return Call((T(shape), image, kernel, dilation, padding, stride), note="windows")


@st.composite
def windows(draw: Draw) -> tuple[list[int], ...]:
    """Kernel, dilation, padding, stride, and an image that every place in the kernel meets."""
    kernel, dilation, stride = (draw(pairs(1, 2)) for _ in range(3))
    padding = [draw(st.integers(0, k - 1)) for k in kernel]
    image = [d * (k - 1) + draw(st.integers(1, 2)) for k, d in zip(kernel, dilation, strict=True)]
    return kernel, dilation, padding, stride, image


def pairs(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=2, max_size=2)


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "aten.unfold.default": unfold(),
    "aten.pixel_shuffle.default": pixels(True),
    "aten.pixel_unshuffle.default": pixels(False),
    "aten.im2col.default": im2col(),
    "aten.col2im.default": col2im(),
}
