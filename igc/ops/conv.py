"""Convolutions: 1-d to 3-d, plain, grouped, depthwise, transposed."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Mixing, Opaque
from igc.program.schema import argument


def _convolution(node: fx.Node, facts: Facts, transposed: bool) -> Mixing | Opaque:
    x, weight, bias = operand(node, "input"), operand(node, "weight"), argument(node, "bias")
    rank, weight_rank = len(facts.shape(x)), len(facts.shape(weight))
    channel = rank - weight_rank + 1  # behind the batch, if there is one
    groups = argument(node, "groups")
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
        groups_at="groups",
        transposed=transposed,
        fixed=frozenset(range(channel + 1, rank)),
    )


def conv(node: fx.Node, facts: Facts) -> Mixing | Opaque:
    """conv(x, weight [O, I/groups, ...], bias, stride, padding, dilation, groups)."""
    return _convolution(node, facts, False)


def conv_transpose(node: fx.Node, facts: Facts) -> Mixing | Opaque:
    """conv_transpose(x, weight [I, O/groups, ...], bias, stride, padding, out padding, groups)."""
    return _convolution(node, facts, True)


RULES: dict[str, Rule] = {
    **{f"aten.conv{d}d.{o}": conv for d in (1, 2, 3) for o in ("default", "padding")},
    "aten.conv_transpose1d.default": conv_transpose,
    "aten.conv_transpose2d.input": conv_transpose,
    "aten.conv_transpose3d.input": conv_transpose,
}
