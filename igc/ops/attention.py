"""Scaled dot-product attention."""

from __future__ import annotations

from torch import fx

from igc.graph import args_of
from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Opaque, Pointwise, Relation


def attention(node: fx.Node, facts: Facts) -> Relation:
    """attention(q [..., N, d], k [..., M, d], v [..., M, e]) -> [..., N, e].

    Heads follow the batch axes, queries the token axis of q, output features those of v; keys,
    their tokens and the shared width d are read in full (the scale depends on d).
    """
    q, k, v = args_of(node)[:3]
    assert isinstance(q, fx.Node) and isinstance(k, fx.Node) and isinstance(v, fx.Node)
    mask = argument(node, 3, "attn_mask")
    dropout, causal = argument(node, 4, "dropout_p", 0.0), argument(node, 5, "is_causal", False)
    out = facts.shape(node)
    rank = len(out)
    batch = tuple(range(rank - 2))
    same = all(facts.shape(n)[:-2] == out[:-2] for n in (q, k, v))
    if dropout or not same or node.kwargs.get("enable_gqa"):
        return Opaque("attention with dropout or shared heads")
    operands = [
        Follow(q, (*batch, rank - 2, None)),
        Follow(k, (*batch, None, None)),
        Follow(v, (*batch, None, rank - 1)),
    ]
    fixed = set()
    if isinstance(mask, fx.Node):
        follow = facts.follow(mask, (*out[:-1], facts.shape(k)[-2]))
        operands.append(Follow(mask, (*follow.axes[:-1], None)))
    if causal:
        fixed.add(rank - 2)
        operands[0] = Follow(q, (*batch, None, None))
    return Pointwise(tuple(operands), fixed=frozenset(fixed))


RULES: dict[str, Rule] = {"aten.scaled_dot_product_attention.default": attention}
