"""Convolutions: 1-d to 3-d, plain, grouped, depthwise, transposed."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Mixing, Opaque
from igc.program.nodes import args_of


def _convolution(node: fx.Node, facts: Facts, transposed: bool, groups_at: int) -> Mixing | Opaque:
    x, weight = args_of(node)[0], args_of(node)[1]
    bias = argument(node, 2, "bias")
    assert isinstance(x, fx.Node) and isinstance(weight, fx.Node)
    rank, weight_rank = len(facts.shape(x)), len(facts.shape(weight))
    batch = rank - weight_rank + 1
    channel = batch
    spatial = range(channel + 1, rank)
    groups = argument(node, groups_at, "groups", 1)
    if not isinstance(groups, int):
        return Opaque("as many groups as the input says")
    return Mixing(
        x=Follow(x, tuple(a if a < channel else None for a in range(rank))),
        weight=Follow(weight, (None,) * weight_rank),
        bias=bias if isinstance(bias, fx.Node) else None,
        x_axis=channel,
        out_axis=channel,
        w_in=0 if transposed else 1,
        w_out=1 if transposed else 0,
        groups=groups,
        groups_at=groups_at,
        transposed=transposed,
        fixed=frozenset(spatial),
    )


def conv(node: fx.Node, facts: Facts) -> Mixing | Opaque:
    """conv(x, weight [O, I/groups, ...], bias, stride, padding, dilation, groups)."""
    return _convolution(node, facts, False, 6)


def conv_transpose(node: fx.Node, facts: Facts) -> Mixing | Opaque:
    """conv_transpose(x, weight [I, O/groups, ...], bias, stride, padding, out padding, groups)."""
    return _convolution(node, facts, True, 6)


RULES: dict[str, Rule] = {
    **{f"aten.conv{d}d.{o}": conv for d in (1, 2, 3) for o in ("default", "padding")},
    "aten.conv_transpose1d.default": conv_transpose,
    "aten.conv_transpose2d.input": conv_transpose,
    "aten.conv_transpose3d.input": conv_transpose,
}
