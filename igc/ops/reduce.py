"""Reductions and other ops that read some axes whole: mean, sum, max, softmax, cumulative sums."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, argument
from igc.ops.relations import Follow, Pointwise, Survives
from igc.program.nodes import args_of


def _axes(value: object, rank: int) -> set[int]:
    if value is None or value == [] or value == ():
        return set(range(rank))
    if isinstance(value, int):
        return {value % rank}
    assert isinstance(value, (list, tuple))
    return {int(v) % rank for v in value}


def _reduce(zero: Survives, keep_at: int, dim_at: int = 1) -> Rule:
    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """Reads the reduced axes whole; the others can be cut."""
        x = args_of(node)[0]
        assert isinstance(x, fx.Node)
        rank = len(facts.shape(x))
        reduced = _axes(argument(node, dim_at, "dim"), rank)
        keep = bool(argument(node, keep_at, "keepdim", False))
        position, follow = 0, []
        for axis in range(rank):
            follow.append(None if axis in reduced else position)
            position += keep or axis not in reduced
        return Pointwise((Follow(x, tuple(follow)),), survives=zero)

    return rule


def along(node: fx.Node, facts: Facts) -> Pointwise:
    """An op that reads one axis whole and keeps it whole (softmax, a cumulative sum)."""
    x = args_of(node)[0]
    assert isinstance(x, fx.Node)
    rank = len(facts.shape(node))
    axis = int(argument(node, 1, "dim", -1)) % max(rank, 1)
    follow = tuple(None if a == axis else a for a in range(rank))
    return Pointwise((Follow(x, follow),), fixed=frozenset({axis}))


RULES: dict[str, Rule] = {
    "aten.mean.dim": _reduce("zero", 2),
    "aten.sum.dim_IntList": _reduce("zero", 2),
    "aten.amax.default": _reduce("same", 2),
    "aten.amin.default": _reduce("same", 2),
    "aten.var.correction": _reduce("none", 3),
    "aten.std.correction": _reduce("none", 3),
    "aten.var.dim": _reduce("none", 3),
    "aten.std.dim": _reduce("none", 3),
    "aten.linalg_vector_norm.default": _reduce("zero", 3, 2),
    "aten.logsumexp.default": _reduce("none", 2),
    "aten.prod.dim_int": _reduce("zero", 2),
    "aten.argmax.default": _reduce("none", 2),
    "aten.argmin.default": _reduce("none", 2),
    "aten.any.dim": _reduce("none", 2),
    "aten.all.dim": _reduce("none", 2),
    "aten.argsort.default": along,
    "aten.softmax.int": along,
    "aten._softmax.default": along,
    "aten.log_softmax.int": along,
    "aten._log_softmax.default": along,
    "aten.cumsum.default": along,
    "aten.cumprod.default": along,
}
