"""Pixels and windows of images turned into channels, and back."""

from __future__ import annotations

from math import prod

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Blocks, Follow, Pointwise
from igc.program.schema import argument


def unfold(node: fx.Node, facts: Facts) -> Pointwise:
    """unfold(x, axis, size, step): windows along the axis, their entries on a new last axis."""
    x, axis = operand(node, "self"), int(argument(node, "dimension"))
    rank = len(facts.shape(x))
    axis %= rank
    follow = tuple(None if a == axis else a for a in range(rank))
    return Pointwise((Follow(x, follow),), fixed=frozenset({axis, rank}), survives="same")


def pixel_shuffle(node: fx.Node, facts: Facts) -> Blocks:
    """pixel_shuffle(x, r): output channel c reads input channels c*r*r .. (c+1)*r*r."""
    return _pixels(node, facts, int(argument(node, "upscale_factor")) ** 2, 1)


def pixel_unshuffle(node: fx.Node, facts: Facts) -> Blocks:
    """pixel_unshuffle(x, r): output channels c*r*r .. (c+1)*r*r read input channel c."""
    return _pixels(node, facts, 1, int(argument(node, "downscale_factor")) ** 2)


def _pixels(node: fx.Node, facts: Facts, block_in: int, block_out: int) -> Blocks:
    rank = len(facts.shape(node))
    return Blocks(operand(node, "self"), rank - 3, block_in, block_out,
                  fixed=frozenset({rank - 2, rank - 1}), survives="same")  # fmt: skip


def im2col(node: fx.Node, facts: Facts) -> Blocks:
    """im2col(x, kernel, ...): output channels c*k .. (c+1)*k, k = prod(kernel), read channel c."""
    return _windows(node, facts, 1, prod(argument(node, "kernel_size")))


def col2im(node: fx.Node, facts: Facts) -> Blocks:
    """col2im(x, size, kernel, ...): channel c sums what channels c*k .. (c+1)*k hold of windows."""
    return _windows(node, facts, prod(argument(node, "kernel_size")), 1)


def _windows(node: fx.Node, facts: Facts, block_in: int, block_out: int) -> Blocks:
    """Between images [..., C, H, W] and columns [..., C * k, positions]: only zeros stay known."""
    x, rank = operand(node, "self"), len(facts.shape(node))
    axis = max(rank, len(facts.shape(x))) - 3  # an image has one axis more
    return Blocks(x, axis, block_in, block_out, fixed=frozenset(range(axis + 1, rank)),
                  survives="zero")  # fmt: skip


RULES: dict[str, Rule] = {
    "aten.unfold.default": unfold,
    "aten.pixel_shuffle.default": pixel_shuffle,
    "aten.pixel_unshuffle.default": pixel_unshuffle,
    "aten.im2col.default": im2col,
    "aten.col2im.default": col2im,
}
