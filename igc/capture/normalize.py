"""The steps by which capture spells a program uniformly, so that one op rule serves all spellings.

Several outputs become single ones (`split`, `chunk`, `unbind`, batch norm), identities in
evaluation mode vanish (`clone`, `dropout`, `detach`, assertions), `stack` becomes `cat`.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import fx

from igc.capture.merged_axes import with_merged_axes
from igc.capture.rewrites.context import Rewriting
from igc.capture.rewrites.table import REWRITES
from igc.capture.shuffles import with_shuffles
from igc.capture.sizes import settle_sizes
from igc.capture.squeezes import check_squeezes
from igc.program import Program
from igc.program.dtypes import is_float
from igc.program.nodes import args_of, copy_node
from igc.program.rebuild import Env, rebuild
from igc.program.schema import bind
from igc.program.shapes import Value, at_points, shapes

aten = torch.ops.aten

# Calls with the very arguments of another, which gives the same numbers. A view depends on strides,
# which slicing changes; a reshape does not. A copy of a view is told as the view.
SPELLED = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
    aten.view_copy.default: aten.reshape.default,
    aten._reshape_copy.default: aten.reshape.default,
    aten.alias_copy.default: aten.alias.default,
    aten.detach_copy.default: aten.detach.default,
    aten.diagonal_copy.default: aten.diagonal.default,
    aten.expand_copy.default: aten.expand.default,
    aten.permute_copy.default: aten.permute.default,
    aten.select_copy.int: aten.select.int,
    aten.slice_copy.Tensor: aten.slice.Tensor,
    aten.split_copy.Tensor: aten.split.Tensor,
    aten.split_with_sizes_copy.default: aten.split_with_sizes.default,
    aten.squeeze_copy.default: aten.squeeze.default,
    aten.squeeze_copy.dim: aten.squeeze.dim,
    aten.squeeze_copy.dims: aten.squeeze.dims,
    aten.t_copy.default: aten.t.default,
    aten.transpose_copy.int: aten.transpose.int,
    aten.unbind_copy.int: aten.unbind.int,
    aten.unfold_copy.default: aten.unfold.default,
    aten.unsqueeze_copy.default: aten.unsqueeze.default,
}


def normalize(program: Program) -> Program:
    """The same program in the uniform spelling.

    Its `note["declined"]` has a line for every call that a rewrite left as it was, and why. Raises
    `AsksForSize` where it cannot hold for all sizes of the inputs.
    """
    check_squeezes(program)
    written = rewritten(without_empty_pieces(program))
    return with_shuffles(settle_sizes(with_merged_axes(written)))


def without_empty_pieces(program: Program) -> Program:
    """The program whose `cat`s join no pieces that are empty whatever the size of the input.

    Such a piece has no entries to follow: `x[:, :0]` where a model has no class token.
    """
    pieces = {t for n in program.graph.nodes if n.target is aten.cat.default for t in args_of(n)[0]}
    facts = shapes(program) if pieces else {}
    empty = {t for t in pieces if 0 in facts[t].dims}
    if empty and program.sizes:
        for _, other in at_points(program):
            empty = {t for t in empty if 0 in other[t].dims}
    if not empty:
        return program

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        if node.target is not aten.cat.default:
            return None
        every = args_of(node)[0]
        kept = [t for t in every if t not in empty]
        if len(kept) == len(every) or _joined_type(kept, facts) != facts[node].dtype:
            return None
        new = copy_node(graph, node, env.__getitem__)
        new.args = ([env[t] for t in kept], *new.args[1:])
        return new

    return rebuild(program, make)


def _joined_type(pieces: list[fx.Node], facts: dict[fx.Node, Value]) -> torch.dtype | None:
    """The type of these pieces joined; None where there are none."""
    types = [d for t in pieces if (d := facts[t].dtype) is not None]
    return reduce(torch.promote_types, types) if types else None


def rewritten(program: Program) -> Program:
    """The program whose calls are written as the table of rewrites says."""
    points = [facts for _, facts in at_points(program)]
    facts, declined = points[0], list[str]()

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> Any:
        if node.op != "call_function":
            return None
        if node.target is operator.getitem:
            several, number = env[args_of(node)[0]], args_of(node)[1]
            return several[number] if isinstance(several, list) else None
        if node.target in REWRITES:
            return REWRITES[node.target](Rewriting(graph, node, env, facts, declined, points))
        return _typed(copy_node(graph, node, env.__getitem__), node, facts)

    new = rebuild(program, make)
    return replace(new, note={**new.note, "declined": tuple(declined)}) if declined else new


def _typed(new: fx.Node, node: fx.Node, facts: dict[fx.Node, Value]) -> fx.Node:
    """A tensor made from nothing says its dtype, so that a run in another dtype can change it."""
    dtype, nothing = facts[node].dtype, all(facts[n].shape is None for n in node.all_input_nodes)
    if nothing and is_float(dtype) and bind(node).get("dtype", dtype) is None:
        new.kwargs = {**new.kwargs, "dtype": dtype}
    return new
