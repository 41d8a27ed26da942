"""Entries read or written at places that a tensor holds: tables, rows, lines of numbers."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule, operand
from igc.ops.rearrange import taken, whole
from igc.ops.relations import Follow, Pointwise, Take
from igc.program.schema import argument


def index_select(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """index_select(x, axis, index)."""
    x, axis, numbers = operand(node, "self"), int(argument(node, "dim")), operand(node, "index")
    index = facts.constant(numbers)
    if index is not None and not facts.dynamic(x)[axis]:
        return taken(node, facts, axis, index.reshape(-1).numpy())
    moved = whole(node, facts, axis)
    return Pointwise((*moved.operands, Follow(numbers, (None,))), fixed=moved.fixed)


def index(node: fx.Node, facts: Facts) -> Take | Pointwise:
    """x[..., i, ...]: a constant number or line of numbers, or any tables of them."""
    x, positions = operand(node, "self"), list(argument(node, "indices"))
    given = [i for i, p in enumerate(positions) if p is not None]
    numbers, axis = facts.constant(positions[given[0]]), given[0]
    if numbers is None or numbers.ndim > 1 or len(given) > 1 or facts.dynamic(x)[axis]:
        return _table(node, facts, given, [positions[i] for i in given])
    line = numbers.reshape(-1).numpy() % facts.shape(x)[axis]
    return taken(node, facts, axis, line, drops=numbers.ndim == 0)


def _table(node: fx.Node, facts: Facts, given: list[int], tables: list[fx.Node]) -> Pointwise:
    """Tables of numbers: their axes replace those they index, and stay whole."""
    x = operand(node, "self")
    wide = max(len(facts.shape(t)) for t in tables)
    together = given == list(range(given[0], given[0] + len(given)))
    start = given[0] if together else 0
    position, follow = 0, []
    for axis in range(len(facts.shape(x))):
        position += wide if position == start and (axis == start or not together) else 0
        follow.append(None if axis in given else position)
        position += axis not in given
    operands = [Follow(x, tuple(follow))]
    operands += [Follow(t, (None,) * len(facts.shape(t))) for t in tables]
    return Pointwise(tuple(operands), fixed=frozenset(range(start, start + wide)))


def gather(node: fx.Node, facts: Facts) -> Pointwise:
    """gather(x, axis, index): x is read whole along the axis; where the index has fewer lines than
    x along another axis, it is its first lines that count, and that axis is kept whole.
    """
    x, axis, index = operand(node, "self"), int(argument(node, "dim")), operand(node, "index")
    rank = len(facts.shape(node))
    if not rank:
        return Pointwise((Follow(x, ()), Follow(index, ())))
    axis %= rank
    same = [a == b for a, b in zip(facts.sizes(x), facts.sizes(index), strict=True)]
    follow = tuple(a if a != axis and same[a] else None for a in range(rank))
    fixed = frozenset(a for a in range(rank) if a != axis and not same[a])
    return Pointwise((Follow(x, follow), Follow(index, tuple(range(rank)))), fixed=fixed)


def embedding(node: fx.Node, facts: Facts) -> Pointwise:
    """embedding(weight [N, W], ids [...]): every row of the table may be looked up."""
    weight, ids = operand(node, "weight"), operand(node, "indices")
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
    "aten.index_select.default": index_select,
    "aten.index.Tensor": index,
    "aten.gather.default": gather,
    "aten.embedding.default": embedding,
}
