"""How the ops of a program pass demand on to their operands, read off their relations."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import fx

from igc.analysis.demand import Route
from igc.ops import TABLE, relation
from igc.ops.facts import Facts
from igc.ops.relations import Concat, Pointwise, Regroup, Select, Take
from igc.program.schema import operation

Routes = list[Route[fx.Node]]


def routes_of(node: fx.Node, facts: Facts) -> Routes:
    """A route to every operand; a bare one wherever the op does more than move channels."""
    if node.op != "call_function" or not facts.is_tensor(node):
        told = operation(node) in TABLE  # by the relation of each of its outputs
        return [] if told else [Route(n) for n in node.all_input_nodes]
    found = relation(node, facts)
    if isinstance(found, Select):
        found = found.written
    special: Routes = []
    if isinstance(found, Pointwise):
        special = [Route(f.node, f.axes) for f in found.operands]
    elif isinstance(found, Concat):
        special = _joined(found, facts)
    elif isinstance(found, Take):
        special = [_taken(found, facts)]
    elif isinstance(found, Regroup):
        special = [_regrouped(found, facts)]
    known = {route.operand for route in special}
    return special + [Route(n) for n in node.all_input_nodes if n not in known]


def _joined(found: Concat, facts: Facts) -> Routes:
    sizes = [facts.shape(n)[found.axis] for n in found.operands]
    starts = np.cumsum([0, *sizes])
    routes: Routes = []
    for operand, start, size in zip(found.operands, starts.tolist(), sizes, strict=False):
        axes, axis = tuple(range(len(facts.shape(operand)))), found.axis
        routes.append(Route(operand, axes, axis, axis, range(size), piece=True, start=start))
    return routes


def _taken(found: Take, facts: Facts) -> Route[fx.Node]:
    # Where the axis is dropped, no axis of the result stands for it: demand on any of it counts.
    axis = -1 if found.drops else found.axis
    return Route(found.x, (), axis, found.axis, _tuple(found.index))


def _regrouped(found: Regroup, facts: Facts) -> Route[fx.Node]:
    """Follows the first group whose channels are merged into one axis, or are left alone."""
    shape = facts.shape(found.x)
    for sources, targets in found.groups:
        if len(targets) == 1 and sources and sources[0] > 0 and not _dynamic(found, facts, sources):
            inner = prod(shape[a] for a in sources[1:])
            index = np.arange(shape[sources[0]] * inner) // inner
            return Route(found.x, (), targets[0], sources[0], _tuple(index), piece=True)
    return Route(found.x)


def _dynamic(found: Regroup, facts: Facts, axes: tuple[int, ...]) -> bool:
    return any(facts.dynamic(found.x)[a] for a in axes)


def _tuple(index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> tuple[int, ...]:
    return tuple(int(i) for i in index)
