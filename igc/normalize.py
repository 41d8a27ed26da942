"""The few spellings that capture makes uniform, so that one op rule serves them all.

Several outputs become single ones (`split`, `chunk`, `unbind`, batch norm), identities in
evaluation mode vanish (`clone`, `dropout`, `detach`, assertions), `stack` becomes `cat`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.analysis.shapes import Value, shapes
from igc.graph import Program, copy_node

aten = torch.ops.aten

Env = dict[fx.Node, Any]
Rewrite = Callable[[fx.Graph, fx.Node, Env, dict[fx.Node, Value]], Any]

IDENTITY = frozenset({
    aten.clone.default, aten.detach.default, aten.alias.default, aten.contiguous.default,
    aten.lift_fresh_copy.default, aten.lift_fresh.default, aten.detach_.default,
    aten.positive.default, aten.resolve_conj.default, aten.resolve_neg.default,
})  # fmt: skip
ASSERTIONS = frozenset({
    "aten._assert_tensor_metadata.default", "aten._assert_scalar.default",
    "aten.sym_constrain_range.default", "aten.sym_constrain_range_for_size.default",
    "aten._assert_async.msg",
})  # fmt: skip


def normalize(program: Program) -> Program:
    """The same program in the uniform spelling."""
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
            else copy_node(graph, node, env.__getitem__)
        )
    graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    return program.with_graph(graph, program.constants)


def call(graph: fx.Graph, like: fx.Node, target: Any, *args: Any) -> fx.Node:
    """A new call in `graph` that carries the layer of `like`."""
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    return node


def _identity(_: fx.Graph, node: fx.Node, env: Env, __: dict[fx.Node, Value]) -> Any:
    return env[node.args[0]]  # type: ignore[index]


def _dropout(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    if bool(node.args[2]):
        return copy_node(graph, node, env.__getitem__)
    return env[node.args[0]]  # type: ignore[index]


def _cast(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    if facts[node].dtype == facts[operand].dtype:
        return env[operand]
    new = graph.call_function(aten._to_copy.default, (env[operand],), {"dtype": facts[node].dtype})
    new.meta = dict(node.meta)
    return new


def _batch_norm(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    x, weight, bias, mean, var, momentum, eps = (
        env[a] if isinstance(a, fx.Node) else a for a in node.args
    )
    return [call(graph, node, aten.batch_norm.default, x, weight, bias, mean, var,
                 False, momentum, eps, False)]  # fmt: skip


def _getitem(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    source = env[node.args[0]]  # type: ignore[index]
    if isinstance(source, list):
        return source[node.args[1]]  # type: ignore[index]
    return copy_node(graph, node, env.__getitem__)


def _pieces(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    axis = _axis(node, 2, facts[operand].dims)
    start, pieces = 0, []
    for piece in facts[node].many:
        end = start + piece.dims[axis]
        pieces.append(call(graph, node, aten.slice.Tensor, env[operand], axis, start, end, 1))
        start = end
    return pieces


def _axis(node: fx.Node, position: int, shape: tuple[int, ...]) -> int:
    axis = node.args[position] if len(node.args) > position else node.kwargs.get("dim", 0)
    assert isinstance(axis, int)
    return axis % len(shape)


def _unbind(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    axis = _axis(node, 1, facts[operand].dims)
    return [
        call(graph, node, aten.select.int, env[operand], axis, i)
        for i in range(facts[operand].dims[axis])
    ]


def _stack(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    axis = _axis(node, 1, facts[node].dims)
    parts = [
        call(graph, node, aten.unsqueeze.default, env[p], axis)
        for p in node.args[0]  # type: ignore[union-attr]
    ]
    return call(graph, node, aten.cat.default, parts, axis)


def _transpose(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    rank = len(facts[operand].dims)
    order = list(range(rank))
    if len(node.args) > 2 and rank:
        a, b = int(node.args[1]) % rank, int(node.args[2]) % rank  # type: ignore[arg-type]
        order[a], order[b] = order[b], order[a]
    elif rank == 2:
        order = [1, 0]
    if order == list(range(rank)):
        return env[operand]
    return call(graph, node, aten.permute.default, env[operand], order)


REWRITES: dict[Any, Rewrite] = {
    **dict.fromkeys(IDENTITY, _identity),
    aten.dropout.default: _dropout,
    aten.feature_dropout.default: _dropout,
    aten.alpha_dropout.default: _dropout,
    aten.feature_alpha_dropout.default: _dropout,
    aten._to_copy.default: _cast,
    aten.to.dtype: _cast,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    operator.getitem: _getitem,
    aten.split.Tensor: _pieces,
    aten.split_with_sizes.default: _pieces,
    aten.chunk.default: _pieces,
    aten.tensor_split.sections: _pieces,
    aten.unbind.int: _unbind,
    aten.stack.default: _stack,
    aten.transpose.int: _transpose,
    aten.t.default: _transpose,
}
