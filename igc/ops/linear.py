"""Contractions of matrices: linear, mm, addmm, bmm, matmul."""

from __future__ import annotations

from torch import fx

from igc.graph import args_of
from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Mixing, Opaque, Relation


def linear(node: fx.Node, facts: Facts) -> Relation:
    """linear(x [..., I], weight [O, I], bias [O])."""
    x, weight = args_of(node)[0], args_of(node)[1]
    bias = argument(node, 2, "bias")
    assert isinstance(x, fx.Node) and isinstance(weight, fx.Node)
    rank = len(facts.shape(x))
    if len(facts.shape(weight)) != 2:
        return Opaque("linear with a vector weight")
    return Mixing(
        x=Follow(x, (*range(rank - 1), None)),
        weight=Follow(weight, (None, None)),
        bias=bias if isinstance(bias, fx.Node) else None,
        x_axis=rank - 1,
        out_axis=rank - 1,
        w_in=1,
        w_out=0,
    )


def _product(node: fx.Node, a: object, b: object, bias: fx.Node | None, facts: Facts) -> Relation:
    """a [..., M, K] @ b [..., K, N], batch axes broadcast; 1-d operands stay opaque."""
    assert isinstance(a, fx.Node) and isinstance(b, fx.Node)
    out = facts.shape(node)
    ranks = len(facts.shape(a)), len(facts.shape(b))
    if min(ranks) < 2:
        return Opaque("product with a vector")
    rank = len(out)

    def batch(operand: fx.Node) -> list[int | None]:
        shape = facts.shape(operand)
        offset = rank - len(shape)
        return [
            None if shape[i] == 1 and out[i + offset] != 1 else i + offset
            for i in range(len(shape) - 2)
        ]

    return Mixing(
        x=Follow(a, (*batch(a), rank - 2, None)),
        weight=Follow(b, (*batch(b), None, None)),
        bias=bias,
        x_axis=ranks[0] - 1,
        out_axis=rank - 1,
        w_in=ranks[1] - 2,
        w_out=ranks[1] - 1,
    )


def matmul(node: fx.Node, facts: Facts) -> Relation:
    """matmul, mm, bmm."""
    return _product(node, args_of(node)[0], args_of(node)[1], None, facts)


def addmm(node: fx.Node, facts: Facts) -> Relation:
    """addmm(bias, a, b) with a bias vector and no scaling."""
    bias, a, b = args_of(node)[:3]
    assert isinstance(bias, fx.Node)
    scaled = argument(node, 3, "beta", 1) != 1 or argument(node, 4, "alpha", 1) != 1
    if scaled or len(facts.shape(bias)) != 1 or facts.shape(bias)[0] != facts.shape(node)[-1]:
        return Opaque("scaled addmm")
    return _product(node, a, b, bias, facts)


RULES: dict[str, Rule] = {
    "aten.linear.default": linear,
    "aten.mm.default": matmul,
    "aten.bmm.default": matmul,
    "aten.matmul.default": matmul,
    "aten.addmm.default": addmm,
}
