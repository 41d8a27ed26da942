"""Node by node: operations with several outputs or several spellings, as those that have rules."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from igc.capture.rewrites.assign import SCATTERS
from igc.capture.rewrites.create import CREATED
from igc.capture.rewrites.outputs import SEVERAL
from igc.program.nodes import args_of, call_like, copy_node, mapped
from igc.program.shapes import Value

aten = torch.ops.aten

Env = dict[fx.Node, Any]
Rewrite = Callable[[fx.Graph, fx.Node, Env, dict[fx.Node, Value]], Any]

IDENTITY = frozenset({
    aten.clone.default, aten.detach.default, aten.alias.default, aten.contiguous.default,
    aten.lift_fresh_copy.default, aten.lift_fresh.default, aten.detach_.default,
    aten.positive.default, aten.resolve_conj.default, aten.resolve_neg.default,
})  # fmt: skip


def _identity(_: fx.Graph, node: fx.Node, env: Env, __: dict[fx.Node, Value]) -> Any:
    return env[args_of(node)[0]]


def _dropout(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    if bool(args_of(node)[2]):
        return copy_node(graph, node, env.__getitem__)
    return env[args_of(node)[0]]


def _cast(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    if facts[node].dtype == facts[operand].dtype:
        return env[operand]
    new = graph.call_function(aten._to_copy.default, (env[operand],), {"dtype": facts[node].dtype})
    new.meta = dict(node.meta)
    return new


def _getitem(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    source = env[args_of(node)[0]]
    if isinstance(source, list):
        return source[args_of(node)[1]]
    return copy_node(graph, node, env.__getitem__)


def _pieces(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    axis = _axis(node, 2, facts[operand].dims)
    start, pieces = 0, []
    for piece in facts[node].many:
        end = start + piece.dims[axis]
        pieces.append(call_like(graph, node, aten.slice.Tensor, env[operand], axis, start, end, 1))
        start = end
    return pieces


def _axis(node: fx.Node, position: int, shape: tuple[int, ...]) -> int:
    axis = args_of(node)[position] if len(node.args) > position else node.kwargs.get("dim", 0)
    assert isinstance(axis, int)
    return axis % len(shape)


def _unbind(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    axis = _axis(node, 1, facts[operand].dims)
    return [
        call_like(graph, node, aten.select.int, env[operand], axis, i)
        for i in range(facts[operand].dims[axis])
    ]


def _stack(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    axis = _axis(node, 1, facts[node].dims)
    parts = [call_like(graph, node, aten.unsqueeze.default, env[p], axis) for p in args_of(node)[0]]
    return call_like(graph, node, aten.cat.default, parts, axis)


def _transpose(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    rank = len(facts[operand].dims)
    order = list(range(rank))
    if len(node.args) > 2 and rank:
        a, b = int(args_of(node)[1]) % rank, int(args_of(node)[2]) % rank
        order[a], order[b] = order[b], order[a]
    elif rank == 2:
        order = [1, 0]
    if order == list(range(rank)):
        return env[operand]
    return call_like(graph, node, aten.permute.default, env[operand], order)


def _flatten(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """A reshape: axes outside the merged ones keep their sizes, the merged one is -1."""
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    rank = len(facts[operand].dims)
    start = int(args_of(node)[1]) % rank if len(node.args) > 1 else 0
    end = int(args_of(node)[2]) % rank if len(node.args) > 2 else rank - 1
    if rank == 0 or start == end:
        return env[operand]
    keep = [*range(start), *range(end + 1, rank)]
    sizes = {a: call_like(graph, node, aten.sym_size.int, env[operand], a) for a in keep}
    before = [sizes[a] for a in keep if a < start]
    after = [sizes[a] for a in keep if a > end]
    return call_like(graph, node, aten.reshape.default, env[operand], [*before, -1, *after])


def _unflatten(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    rank = len(facts[operand].dims)
    axis = int(args_of(node)[1]) % rank
    sizes = mapped(list(args_of(node)[2]), env.__getitem__)
    whole = [call_like(graph, node, aten.sym_size.int, env[operand], a) for a in range(rank)]
    new = [*whole[:axis], *sizes, *whole[axis + 1 :]]
    return call_like(graph, node, aten.reshape.default, env[operand], new)


def _squeeze(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """A squeeze names the axes that go: slicing to one channel must not make it take more."""
    operand = args_of(node)[0]
    assert isinstance(operand, fx.Node)
    shape = facts[operand].dims
    given = args_of(node)[1] if len(node.args) > 1 else range(len(shape))
    axes = [given] if isinstance(given, int) else list(given)
    gone = sorted({int(a) % max(len(shape), 1) for a in axes if shape and shape[int(a)] == 1})
    if not gone:
        return env[operand]
    return call_like(graph, node, aten.squeeze.dims, env[operand], gone)


def _roll(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """Rolls of several axes, one after the other."""
    x, shifts = args_of(node)[:2]
    axes = args_of(node)[2] if len(args_of(node)) > 2 else []
    if len(axes) != len(shifts):
        return copy_node(graph, node, env.__getitem__)
    result = env[x]
    for shift, axis in zip(shifts, axes, strict=True):
        shift = env[shift] if isinstance(shift, fx.Node) else shift
        result = call_like(graph, node, aten.roll.default, result, [shift], [axis])
    return result


def _flip(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """Flips of several axes, one after the other."""
    x, axes = args_of(node)
    result = env[x]
    for axis in axes:
        result = call_like(graph, node, aten.flip.default, result, [axis])
    return result


def _meshgrid(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """meshgrid(lines): line i along axis i of a grid, or 1 and 0 swapped where indexing is "xy"."""
    lines = list(args_of(node)[0])
    order = list(range(len(lines)))
    if len(lines) > 1 and node.kwargs.get("indexing") == "xy":
        order[:2] = 1, 0
    sizes: list[fx.Node | int] = [1] * len(lines)
    for line, axis in zip(lines, order, strict=True):
        sizes[axis] = _size(graph, node, env[line], 0) if facts[line].dims else 1
    grids = []
    for line, axis in zip(lines, order, strict=True):
        shape = [-1 if a == axis else 1 for a in range(len(lines))]
        column = call_like(graph, node, aten.reshape.default, env[line], shape)
        grids.append(call_like(graph, node, aten.expand.default, column, list(sizes)))
    return grids


def _numel(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    x = args_of(node)[0]
    result: fx.Node | int = 1
    for axis in range(len(facts[x].dims)):
        result = call_like(graph, node, operator.mul, result, _size(graph, node, env[x], axis))
    return result


def _size(graph: fx.Graph, node: fx.Node, x: fx.Node, axis: int) -> fx.Node:
    return call_like(graph, node, aten.sym_size.int, x, axis)


def _glu(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """glu(x) = first half * sigmoid(second half)."""
    x = args_of(node)[0]
    shape = facts[x].dims
    axis = int(args_of(node)[1] if len(args_of(node)) > 1 else -1) % len(shape)
    half = shape[axis] // 2
    first = call_like(graph, node, aten.slice.Tensor, env[x], axis, 0, half, 1)
    second = call_like(graph, node, aten.slice.Tensor, env[x], axis, half, 2 * half, 1)
    return call_like(
        graph, node, aten.mul.Tensor, first, call_like(graph, node, aten.sigmoid.default, second)
    )


def _one_hot(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    """one_hot(x, n) = x[..., None] == arange(n), as int64."""
    x, *rest = args_of(node)
    classes = rest[0] if rest else node.kwargs.get("num_classes", -1)
    if not isinstance(classes, int) or classes < 1:
        return copy_node(graph, node, env.__getitem__)
    numbers = call_like(graph, node, aten.arange.default, classes)
    numbers.kwargs = {"dtype": torch.int64, "device": torch.device("cpu")}
    column = call_like(graph, node, aten.unsqueeze.default, env[x], -1)
    equal = call_like(graph, node, aten.eq.Tensor, column, numbers)
    new = call_like(graph, node, aten._to_copy.default, equal)
    new.kwargs = {"dtype": torch.int64}
    return new


def _over_all(target: Any) -> Rewrite:
    def rewrite(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
        """A reduction to one number, as the reduction over every axis."""
        x = args_of(node)[0]
        new = call_like(graph, node, target, env[x], list(range(len(facts[x].dims))))
        new.kwargs = {k: v for k, v in node.kwargs.items() if k == "dtype"}
        return new

    return rewrite


def _rrelu(graph: fx.Graph, node: fx.Node, env: Env, _: dict[fx.Node, Value]) -> Any:
    """In evaluation mode the slope is the mean of its bounds."""
    x, *rest = args_of(node)
    bounds = [*rest, *(1 / 8, 1 / 3, False)[len(rest) :]]
    if bounds[2]:
        return copy_node(graph, node, env.__getitem__)
    return call_like(graph, node, aten.leaky_relu.default, env[x], (bounds[0] + bounds[1]) / 2)


def _bilinear(graph: fx.Graph, node: fx.Node, env: Env, facts: dict[fx.Node, Value]) -> Any:
    """bilinear(a, b, W [O, I, J], bias): a @ W as [..., O, J], times b, summed over J."""
    a, b, weight, bias = (*args_of(node), None)[:4]
    outputs, rows, columns = facts[weight].dims
    line = call_like(graph, node, aten.permute.default, env[weight], [1, 0, 2])
    matrix = call_like(graph, node, aten.reshape.default, line, [rows, outputs * columns])
    product = call_like(graph, node, aten.matmul.default, env[a], matrix)
    rank = len(facts[a].dims)
    lead = [_size(graph, node, env[a], axis) for axis in range(rank - 1)]
    parts = call_like(graph, node, aten.reshape.default, product, [*lead, outputs, columns])
    other = call_like(graph, node, aten.unsqueeze.default, env[b], -2)
    terms = call_like(graph, node, aten.mul.Tensor, parts, other)
    total = call_like(graph, node, aten.sum.dim_IntList, terms, [rank])
    return total if bias is None else call_like(graph, node, aten.add.Tensor, total, env[bias])


REWRITES: dict[Any, Rewrite] = {
    **dict.fromkeys(IDENTITY, _identity),
    aten.dropout.default: _dropout,
    aten.feature_dropout.default: _dropout,
    aten.alpha_dropout.default: _dropout,
    aten.feature_alpha_dropout.default: _dropout,
    aten._to_copy.default: _cast,
    aten.to.dtype: _cast,
    aten.type_as.default: _cast,
    operator.getitem: _getitem,
    aten.roll.default: _roll,
    aten.flip.default: _flip,
    aten.glu.default: _glu,
    aten.one_hot.default: _one_hot,
    aten.rrelu.default: _rrelu,
    aten.bilinear.default: _bilinear,
    aten.mean.default: _over_all(aten.mean.dim),
    aten.sum.default: _over_all(aten.sum.dim_IntList),
    aten.max.default: _over_all(aten.amax.default),
    aten.min.default: _over_all(aten.amin.default),
    aten.split.Tensor: _pieces,
    aten.split_with_sizes.default: _pieces,
    aten.unsafe_split.Tensor: _pieces,
    aten.unsafe_split_with_sizes.default: _pieces,
    aten.unsafe_chunk.default: _pieces,
    aten.chunk.default: _pieces,
    aten.tensor_split.sections: _pieces,
    aten.unbind.int: _unbind,
    aten.stack.default: _stack,
    aten.meshgrid.default: _meshgrid,
    aten.meshgrid.indexing: _meshgrid,
    aten.sym_numel.default: _numel,
    aten.transpose.int: _transpose,
    aten.t.default: _transpose,
    aten.flatten.using_ints: _flatten,
    aten.squeeze.default: _squeeze,
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten.unflatten.int: _unflatten,
    **CREATED,
    **SCATTERS,
    **SEVERAL,
}
