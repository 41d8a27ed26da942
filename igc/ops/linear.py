"""Contractions of matrices: linear, mm, addmm, bmm, matmul; embedding, a product with one row."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Mixing, Pointwise
from igc.program.nodes import args_of


def linear(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """linear(x [..., I], weight [O, I], bias [O])."""
    x, weight = args_of(node)[0], args_of(node)[1]
    bias = argument(node, 2, "bias")
    assert isinstance(x, fx.Node) and isinstance(weight, fx.Node)
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
    node: fx.Node, a: object, b: object, bias: fx.Node | None, facts: Facts
) -> Mixing | Pointwise:
    """a [..., M, K] @ b [..., K, N], batch axes broadcast."""
    assert isinstance(a, fx.Node) and isinstance(b, fx.Node)
    ranks = len(facts.shape(a)), len(facts.shape(b))
    if min(ranks) < 2:
        return _with_vector(node, a, b, facts)
    rank = len(facts.shape(node))
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
    """matmul, mm, bmm."""
    return _product(node, args_of(node)[0], args_of(node)[1], None, facts)


def addmm(node: fx.Node, facts: Facts) -> Mixing | Pointwise:
    """addmm(bias, a, b): a contraction where the bias is a vector and nothing is scaled."""
    bias, a, b = args_of(node)[:3]
    assert isinstance(bias, fx.Node)
    scaled = argument(node, 3, "beta", 1) != 1 or argument(node, 4, "alpha", 1) != 1
    out = facts.shape(node)
    if scaled or facts.shape(bias) != out[-1:]:
        assert isinstance(a, fx.Node) and isinstance(b, fx.Node)
        return Pointwise((facts.follow(bias, out), Follow(a, (0, None)), Follow(b, (None, 1))))
    return _product(node, a, b, bias, facts)


def embedding(node: fx.Node, facts: Facts) -> Pointwise:
    """embedding(weight [N, W], ids [...]): every row of the table may be looked up."""
    weight, ids = args_of(node)[:2]
    assert isinstance(weight, fx.Node) and isinstance(ids, fx.Node)
    last = len(facts.shape(ids))
    operands = (Follow(weight, (None, last)), Follow(ids, tuple(range(last))))
    table = facts.constant(weight)
    if table is None or not len(table):
        return Pointwise(operands)
    first = table[0].double()
    same = (table == table[0]).all(0)  # a column that is the same in all rows
    values = first.where(same, 0.0).numpy()
    return Pointwise(operands, known=(last, same.numpy(), values))


RULES: dict[str, Rule] = {
    "aten.linear.default": linear,
    "aten.mm.default": matmul,
    "aten.bmm.default": matmul,
    "aten.matmul.default": matmul,
    "aten.addmm.default": addmm,
    "aten.embedding.default": embedding,
}
