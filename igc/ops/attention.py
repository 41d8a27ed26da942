"""Scaled dot-product attention."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Opaque, Pointwise
from igc.program.schema import bind


def attention(node: fx.Node, facts: Facts) -> Pointwise | Opaque:
    """attention(q [..., N, d], k [..., M, d], v [..., M, e]) -> [..., N, e].

    Heads follow the batch axes, queries the token axis of q, output features those of v; keys,
    their tokens and the shared width d are read in full (the scale depends on d). Causal attention
    keeps the queries whole, as which token is which matters; so do heads that share their keys.
    Where a head's values or some of its features are zero, its result is.
    """
    args = bind(node)
    q, k, v = (operand(node, name) for name in ("query", "key", "value"))
    mask = args["attn_mask"]
    if args["dropout_p"]:
        return Opaque("attention with dropout")
    out = facts.shape(node)
    rank = len(out)
    fixed = {rank - 2} if args["is_causal"] else set()
    if args["enable_gqa"]:
        fixed.add(rank - 3)

    def follow(one: fx.Node, *last: int | None) -> Follow:
        axes = (*facts.batch(one, node), *last)
        return Follow(one, tuple(None if a in fixed else a for a in axes))

    operands = [follow(q, rank - 2, None), follow(k, None, None), follow(v, None, rank - 1)]
    if isinstance(mask, fx.Node):
        axes = facts.follow(mask, (*out[:-1], facts.shape(k)[-2])).axes
        operands.append(Follow(mask, (*(None if a in fixed else a for a in axes[:-1]), None)))
    return Pointwise(tuple(operands), fixed=frozenset(fixed), zeroed=frozenset({2}))


RULES: dict[str, Rule] = {"aten.scaled_dot_product_attention.default": attention}
