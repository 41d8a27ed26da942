"""The closed set of relations between an op's output channels and its operands' channels.

A rule (one small function per op) returns one of these. They are data: the engine alone propagates
constants forward, liveness backward, and cuts tensors. "Channel" means an index along any axis.

    Pointwise   output index i along an axis reads operand index i along the axis that follows it
    Mixing      a contraction: convolution, linear, matrix product (weight axes, groups)
    Concat      operands side by side along one axis
    Take        output index j reads operand index `index[j]` (slice, index_select, flip ...)
    Regroup     axes split and merged in order (reshape, flatten)
    Blocks      whole blocks of channels read whole blocks (pixel shuffle, im2col, group norm)
    Select      a sum of operands with constant coefficients per channel; a gate is the case 0 / 1
    Opaque      needs and produces everything; what every op without a rule is
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import fx

Index: TypeAlias = NDArray[np.int64]
Survives: TypeAlias = Literal["any", "same", "zero", "none"]


@dataclass(frozen=True)
class Follow:
    """One tensor operand: the output axis that each of its axes follows, `None` = read in full."""

    node: fx.Node
    axes: tuple[int | None, ...]


@dataclass(frozen=True)
class Pointwise:
    """Output index i reads operand index i along the axes that follow.

    `fixed` lists output axes that cannot be cut (a softmax axis, a convolution's height and
    width). `survives` says which known channels stay known: "any" value (the op is evaluated on
    it), any with the "same" value (the op only moves or repeats it), only "zero", or "none";
    `annihilates` that one zero operand makes the result zero. `sizes` names the argument that
    lists output sizes, if there is one. `known` holds channels that are constant whatever the
    operands: (axis, mask, values); `zeros` those that are zero whatever the operands, by axis, and
    `zeroed` the operands, by number, a zero channel of which is one of the result.
    """

    operands: tuple[Follow, ...]
    fixed: frozenset[int] = frozenset()
    survives: Survives = "none"
    annihilates: bool = False
    sizes: str | None = None
    known: tuple[int, NDArray[np.bool_], NDArray[np.float64]] | None = None
    zeros: tuple[tuple[int, NDArray[np.bool_]], ...] = ()
    zeroed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Mixing:
    """A contraction of `x` along `x_axis` with `weight` along `w_in`; output `out_axis` <- `w_out`.

    `x` and `weight` also say which of their other axes follow the output's. With groups, `w_in`
    counts channels within a group and `w_out` all of them; where `transposed`, the reverse.
    `groups_at` names the argument that holds the number of groups.
    """

    x: Follow
    weight: Follow
    bias: fx.Node | None
    x_axis: int
    out_axis: int
    w_in: int
    w_out: int
    groups: int = 1
    groups_at: str | None = None
    transposed: bool = False
    fixed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Concat:
    """Operands side by side along `axis`."""

    axis: int
    operands: tuple[fx.Node, ...]


@dataclass(frozen=True)
class Take:
    """Output index j along `axis` reads operand index `index[j]`; -1 is the constant `fill`.

    With `drops` the output lacks the axis (a select of one index).
    """

    x: fx.Node
    axis: int
    index: Index
    drops: bool = False
    fill: float = 0.0


@dataclass(frozen=True)
class Regroup:
    """Axes split and merged in order: each group of operand axes becomes a group of output axes."""

    x: fx.Node
    groups: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    sizes: str


@dataclass(frozen=True)
class Blocks:
    """Along `axis`, output block b (of `out_block` channels) reads operand block b (`in_block`).

    `params` are per-channel operands that follow the output's channels; `count_at` names the
    argument that holds the number of blocks, where the op has one; `fixed` are output axes not to
    cut, and `survives` says which known blocks stay known, as for `Pointwise`: with "same" those
    that hold one value, with "zero" those of zeros.
    """

    x: fx.Node
    axis: int
    in_block: int
    out_block: int
    params: tuple[fx.Node, ...] = ()
    count_at: str | None = None
    fixed: frozenset[int] = frozenset()
    survives: Survives = "none"


@dataclass(frozen=True)
class Term:
    """`coefficient[c] * operand[c]`, for channels c along the Select's axis."""

    node: fx.Node
    coefficient: NDArray[np.float64]


@dataclass(frozen=True)
class Select:
    """`shift[c] + sum of terms`: a gate, a mix, a mask, a plain sum.

    `axis` is the one axis along which any coefficient varies; `None` if none varies (arrays then
    have one entry). `written` is the same op as an ordinary `Pointwise`.
    """

    axis: int | None
    terms: tuple[Term, ...]
    shift: NDArray[np.float64]
    written: Pointwise


@dataclass(frozen=True)
class Opaque:
    """Needs every channel of every operand and produces every channel; `reason` is reported."""

    reason: str = "no rule"
    operands: tuple[fx.Node, ...] = field(default=())


Relation: TypeAlias = Pointwise | Mixing | Concat | Take | Regroup | Blocks | Select | Opaque
