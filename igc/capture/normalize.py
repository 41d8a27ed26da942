"""The few spellings that capture makes uniform, so that one op rule serves them all.

Several outputs become single ones (`split`, `chunk`, `unbind`, batch norm), identities in
evaluation mode vanish (`clone`, `dropout`, `detach`, assertions), `stack` becomes `cat`.
"""

from __future__ import annotations

import torch
from torch import fx

from igc.capture.rewrites.shape import REWRITES, Env
from igc.program import Program
from igc.program.nodes import args_of, call_like, copy_node
from igc.program.shapes import Value, other_sizes, shapes

aten = torch.ops.aten

ASSERTIONS = frozenset({
    "aten._assert_tensor_metadata.default", "aten._assert_scalar.default",
    "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
    "aten._assert_async.msg",
})  # fmt: skip
# A view depends on strides, which slicing changes; a reshape does not.
AS_RESHAPE = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}


def normalize(program: Program) -> Program:
    """The same program in the uniform spelling."""
    program = _without_empty_pieces(program)
    graph = fx.Graph()
    env: Env = {}
    facts = shapes(program)
    for node in program.graph.nodes:
        if str(node.target) in ASSERTIONS:
            continue
        rewrite = REWRITES.get(node.target) if node.op == "call_function" else None
        env[node] = (
            rewrite(graph, node, env, facts)
            if rewrite is not None
            else _with_dtype(copy_node(graph, node, env.__getitem__), node, facts)
        )
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    settled = settle_sizes(program.with_graph(graph, program.constants))
    return shuffles(settled)


def _without_empty_pieces(program: Program) -> Program:
    """The program whose `cat`s join no pieces that are empty whatever the size of the input.

    Such a piece has no entries to follow: `x[:, :0]` where a model has no class token.
    """
    facts = shapes(program)
    pieces = {t for n in program.graph.nodes if n.target is aten.cat.default for t in args_of(n)[0]}
    empty = {t for t in pieces if 0 in facts[t].dims}
    if empty and program.sizes:
        other = shapes(program, other_sizes(program))
        empty = {t for t in empty if 0 in other[t].dims}
    if not empty:
        return program
    graph = fx.Graph()
    env: Env = {}
    for node in program.graph.nodes:
        env[node] = copy_node(graph, node, env.__getitem__)
        if node.target is aten.cat.default:
            every, own = args_of(node)[0], facts[node].dtype
            kept = [t for t in every if t not in empty or facts[t].dtype != own]
            if kept and len(kept) < len(every):
                env[node].args = ([env[t] for t in kept], *env[node].args[1:])
    return program.with_graph(graph, program.constants)


def shuffles(program: Program) -> Program:
    """Channel shuffles written as reshape, transpose, reshape, as the one op they are."""
    facts = shapes(program)
    graph = fx.Graph()
    env: Env = {}
    for node in program.graph.nodes:
        groups = _shuffle_groups(node, facts)
        if groups is None:
            env[node] = copy_node(graph, node, env.__getitem__)
        else:
            x = args_of(args_of(args_of(node)[0])[0])[0]
            env[node] = call_like(graph, node, aten.channel_shuffle.default, env[x], groups)
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return program.with_graph(graph, program.constants)


def _shuffle_groups(node: fx.Node, facts: dict[fx.Node, Value]) -> int | None:
    """The groups of a channel shuffle that ends at this node."""
    if node.target is not aten.reshape.default:
        return None
    swap = args_of(node)[0]
    if swap.target is not aten.permute.default:
        return None
    split = args_of(swap)[0]
    if split.target is not aten.reshape.default or split.op != "call_function":
        return None
    x = args_of(split)[0]
    before, parts, after = facts[x].dims, facts[split].dims, facts[node].dims
    order = [int(a) % len(parts) for a in args_of(swap)[1]]
    whole = (
        before == after
        and len(before) >= 3
        and len(parts) == len(before) + 1
        and parts == (before[0], parts[1], parts[2], *before[2:])
        and order == [0, 2, 1, *range(3, len(parts))]
    )
    return parts[1] if whole else None


def _with_dtype(new: fx.Node, node: fx.Node, facts: dict[fx.Node, Value]) -> fx.Node:
    """A tensor made from nothing says its dtype, so that a run in another dtype can change it."""
    target = new.target
    made = isinstance(target, torch._ops.OpOverload) and not any(
        facts[n].shape is not None for n in node.all_input_nodes
    )
    value = facts.get(node)
    if made and value is not None and value.dtype is not None and value.dtype.is_floating_point:
        assert isinstance(target, torch._ops.OpOverload)
        named = any(a.name == "dtype" for a in target._schema.arguments)
        if named and new.kwargs.get("dtype") is None:
            new.kwargs = {**new.kwargs, "dtype": value.dtype}
    return new


def settle_sizes(program: Program) -> Program:
    """Sizes that do not change become numbers, those of an input are read off that input.

    So a size read off a feature never keeps the feature alive, nor changes when it is sliced.
    """
    at, other = shapes(program), shapes(program, other_sizes(program))
    read: dict[tuple[int, int], tuple[fx.Node, int]] = {}
    for node in program.placeholders:
        for axis, pair in enumerate(zip(at[node].dims, other[node].dims, strict=True)):
            if pair[0] != pair[1]:
                read.setdefault(pair, (node, axis))
    graph = fx.Graph()
    env: Env = {}
    made: dict[tuple[int, int], fx.Node] = {}
    for node in program.graph.nodes:
        size = at[node].size if node.op == "call_function" else None
        if size is None:
            env[node] = copy_node(graph, node, env.__getitem__)
            continue
        pair = (size, other[node].size or 0)
        if pair[0] == pair[1]:
            env[node] = size
        elif pair in read:
            if pair not in made:
                source, axis = read[pair]
                made[pair] = call_like(graph, node, aten.sym_size.int, env[source], axis)
            env[node] = made[pair]
        else:
            env[node] = copy_node(graph, node, env.__getitem__)
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return program.with_graph(graph, program.constants)
