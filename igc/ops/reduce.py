"""Axes read whole: sums, means, extremes; softmax and running sums, which keep the axis."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.relations import Follow, Pointwise, Survives
from igc.program.schema import argument


def _axes(value: object, rank: int) -> set[int]:
    if value is None or value == [] or value == ():
        return set(range(rank))
    if isinstance(value, int):
        return {value % max(rank, 1)}
    assert isinstance(value, (list, tuple))
    return {int(v) % max(rank, 1) for v in value}


def reduction(survives: Survives) -> Rule:
    """The rule of an op whose axes `dim` go, or are kept at size one; it may have several outputs.

    `survives` says which known channels are known after it, as `Pointwise` has it.
    """

    def rule(node: fx.Node, facts: Facts) -> Pointwise:
        """Reads the reduced axes whole; the others can be cut."""
        x = operand(node, "self")
        rank = len(facts.shape(x))
        reduced, keep = _axes(argument(node, "dim"), rank), bool(argument(node, "keepdim"))
        position, follow = 0, []
        for axis in range(rank):
            follow.append(None if axis in reduced else position)
            position += keep or axis not in reduced
        return Pointwise((Follow(x, tuple(follow)),), survives=survives)

    return rule


def along(node: fx.Node, facts: Facts) -> Pointwise:
    """One axis is read whole and stays whole; every line along it alone."""
    x = operand(node, "self")
    rank = len(facts.shape(x))
    if not rank:
        return Pointwise((Follow(x, ()),))
    axis = int(argument(node, "dim")) % rank
    follow = tuple(None if a == axis else a for a in range(rank))
    return Pointwise((Follow(x, follow),), fixed=frozenset({axis}))


RULES: dict[str, Rule] = {
    **{f"aten.{name}": reduction("zero") for name in (
        "mean.dim", "sum.dim_IntList", "linalg_vector_norm.default", "prod.dim_int",
    )},
    **{f"aten.{name}": reduction("same") for name in ("amax.default", "amin.default")},
    **{f"aten.{name}": reduction("none") for name in (
        "max.dim", "min.dim", "argmax.default", "argmin.default", "any.dim", "all.dim",
        "var.correction", "std.correction", "var.dim", "std.dim", "logsumexp.default",
    )},
    **{f"aten.{name}": along for name in (
        "softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default",
        "cumsum.default", "cumprod.default", "cummax.default", "cummin.default",
    )},
}  # fmt: skip
