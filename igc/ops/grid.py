"""Values taken at given places: of images, every channel alone; of any tensor along an axis."""

from __future__ import annotations

from torch import fx

from igc.ops.facts import Facts, Rule
from igc.ops.relations import Follow, Pointwise
from igc.program.nodes import args_of


def grid_sampler(node: fx.Node, facts: Facts) -> Pointwise:
    """grid_sampler(x, grid, ...): x keeps height and width whole, the grid all but the batch."""
    x, grid = args_of(node)[:2]
    rank = len(facts.shape(node))
    rest = (None,) * (rank - 2)
    places = Follow(grid, (0, *rest, None))
    return Pointwise(
        (Follow(x, (0, 1, *rest)), places), fixed=frozenset(range(2, rank)), survives="zero"
    )


def affine_grid(node: fx.Node, facts: Facts) -> Pointwise:
    """affine_grid_generator(theta, size, aligned): all of an image's places from all of theta."""
    rank = len(facts.shape(node))
    theta = Follow(args_of(node)[0], (0, None, None))
    return Pointwise((theta,), fixed=frozenset(range(1, rank)))


def gather(node: fx.Node, facts: Facts) -> Pointwise:
    """gather(x, axis, index): x is read whole along the axis; where the index has fewer lines than
    x along another axis, it is its first lines that count, and that axis is kept whole.
    """
    x, axis, index = args_of(node)[:3]
    rank = len(facts.shape(node))
    if not rank:
        return Pointwise((Follow(x, ()), Follow(index, ())))
    axis %= rank
    same = [
        (facts.at[x].dims[a], facts.at_other[x].dims[a])
        == (facts.at[index].dims[a], facts.at_other[index].dims[a])
        for a in range(rank)
    ]
    follow = tuple(a if a != axis and same[a] else None for a in range(rank))
    whole = frozenset(a for a in range(rank) if a != axis and not same[a])
    return Pointwise((Follow(x, follow), Follow(index, tuple(range(rank)))), fixed=whole)


RULES: dict[str, Rule] = {
    "aten.grid_sampler.default": grid_sampler,
    "aten.grid_sampler_2d.default": grid_sampler,
    "aten.grid_sampler_3d.default": grid_sampler,
    "aten.affine_grid_generator.default": affine_grid,
    "aten.gather.default": gather,
}
