"""Products with a constant matrix that only selects: permutations, one-hot rows, diagonal masks."""

from __future__ import annotations

import numpy as np
from torch import fx

from igc.analysis.form import Forms
from igc.ops.relations import Index, Mixing, Relation
from igc.program.schema import bind


def selects(node: fx.Node, relation: Relation, forms: Forms) -> Index | None:
    """For each channel of a product the one of its input that it is, -1 for none.

    `None` where the constant is no selection: zeros and ones, at most one in a row, with nothing
    but a constant bias beside it. A kernel of several places is none, nor is one that strides.
    """
    if not isinstance(relation, Mixing) or relation.groups != 1:
        return None
    weight = forms.facts.constant(relation.weight.node)
    if weight is None or relation.x_axis != relation.out_axis:
        return None
    rest = [a for a in range(weight.ndim) if a not in (relation.w_out, relation.w_in)]
    if any(weight.shape[a] != 1 for a in rest) or not _in_place(node, relation, forms):
        return None
    if relation.bias is not None and forms.facts.constant(relation.bias) is None:
        return None
    matrix = weight.detach().permute(relation.w_out, relation.w_in, *rest).flatten(1)
    one = matrix == 1
    if bool((one | (matrix == 0)).all()) and bool((one.sum(dim=1) <= 1).all()):
        return np.where(one.any(dim=1).numpy(), one.int().argmax(dim=1).numpy(), -1)
    return None


def _in_place(node: fx.Node, relation: Mixing, forms: Forms) -> bool:
    """Whether the result at a place is made of the input at that place: no stride and no border."""
    axis = relation.out_axis
    shapes = (forms.facts.shape(node), forms.facts.shape(relation.x.node))
    told = bind(node)
    steps, edges = told.get("stride", [1]), told.get("padding", "valid")
    return (
        len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) == 1
        and set(steps) == {1}
        and (isinstance(edges, str) or set(edges) == {0})
    )
