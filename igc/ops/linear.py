"""Contractions of matrices: linear, mm, addmm, bmm, matmul."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Mixing, Pointwise
from igc.program.schema import argument


def linear(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """linear(x [..., I], weight [O, I], bias [O])."""
    x, weight, bias = operand(node, "input"), operand(node, "weight"), argument(node, "bias")
    rank = len(facts.shape(x))
    if len(facts.shape(weight)) != 2:
        return _with_vector(node, x, weight, facts)
    return Mixing(
        x=Follow(x, (*range(rank - 1), None)),
        weight=Follow(weight, (None, None)),
        bias=bias if isinstance(bias, fx.Node) else None,
        x_axis=rank - 1,
        out_axis=rank - 1,
        w_in=1,
        w_out=0,
    )


def _with_vector(node: fx.Node, a: fx.Node, b: fx.Node, facts: Facts) -> Pointwise:
    """a [..., M, K] @ b [K], or a [K] @ b [..., K, N]: the shared axis is read whole."""
    rank = len(facts.shape(node))
    left, right = len(facts.shape(a)), len(facts.shape(b))
    if left > 1:
        return Pointwise((Follow(a, (*range(rank), None)), Follow(b, (None,))))
    axes = (*range(rank - 1), None, rank - 1) if right > 1 else (None,)
    return Pointwise((Follow(a, (None,)), Follow(b, axes)))


def _product(
    node: fx.Node, a: fx.Node, b: fx.Node, bias: fx.Node | None, facts: Facts
) -> Mixing | Pointwise:
    """a [..., M, K] @ b [..., K, N], batch axes broadcast; a constant one is the weight."""
    ranks = len(facts.shape(a)), len(facts.shape(b))
    if min(ranks) < 2:
        return _with_vector(node, a, b, facts)
    rank = len(facts.shape(node))
    if bias is None and facts.constant(a) is not None:
        return Mixing(
            x=Follow(b, (*facts.batch(b, node), None, rank - 1)),
            weight=Follow(a, (*facts.batch(a, node), None, None)),
            bias=None,
            x_axis=ranks[1] - 2,
            out_axis=rank - 2,
            w_in=ranks[0] - 1,
            w_out=ranks[0] - 2,
        )
    return Mixing(
        x=Follow(a, (*facts.batch(a, node), rank - 2, None)),
        weight=Follow(b, (*facts.batch(b, node), None, None)),
        bias=bias,
        x_axis=ranks[0] - 1,
        out_axis=rank - 1,
        w_in=ranks[1] - 2,
        w_out=ranks[1] - 1,
    )


def matmul(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """matmul(a, b)."""
    return _product(node, operand(node, "self"), operand(node, "other"), None, facts)


def mm(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """mm(a, b) of matrices, bmm(a, b) of batches of them."""
    return _product(node, operand(node, "self"), operand(node, "mat2"), None, facts)


def addmm(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """addmm(bias, a, b): a contraction where the bias is a vector and nothing is scaled."""
    bias, a, b = (operand(node, name) for name in ("self", "mat1", "mat2"))
    scaled = argument(node, "beta") != 1 or argument(node, "alpha") != 1
    out = facts.shape(node)
    if scaled or facts.shape(bias) != out[-1:]:
        return Pointwise((facts.follow(bias, out), Follow(a, (0, None)), Follow(b, (None, 1))))
    return _product(node, a, b, bias, facts)


RULES: dict[str, Rule] = {
    "aten.linear.default": linear,
    "aten.mm.default": mm,
    "aten.bmm.default": mm,
    "aten.matmul.default": matmul,
    "aten.addmm.default": addmm,
}
