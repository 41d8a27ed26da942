"""FoldConstants: evaluate everything that does not depend on the inputs, gates included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from igc.errors import Refused, first_line
from igc.passes.builder import Builder
from igc.passes.constants import ConstantPool
from igc.passes.growth import Growth
from igc.passes.record import Record
from igc.program import Origin, Program
from igc.program.decisions import decides, decisions, snapped
from igc.program.dtypes import cast_to, narrower, retyped
from igc.program.nodes import args_of, call_of, layer_of, mapped
from igc.program.rebuild import Env
from igc.program.recipe import Computed, Recipe, required, take
from igc.program.schema import op_name
from igc.program.shapes import Value, shapes

LARGEST_GROWTH = 1 << 20  # elements that folding may add: an expanded constant is not folded
# Gathers from a table (of positions, say) are kept where the result is this much larger than the
# table and its indices in bytes, beyond a few kB: the table is what was learned, and a gather is
# cheap.
GATHERS = frozenset({"index", "index_select", "gather", "embedding"})
LARGEST_COPY = 2
SMALL = 1 << 14  # bytes


@dataclass(frozen=True)
class FoldConstants:
    """Every node whose operands are all constants becomes a constant.

    Decisions (a gate's threshold) are taken in the network's own precision, and parts that are in a
    narrower type than the network (autocast) are computed in that type. Everything else is computed
    in float64 and stays there where rounding it would lose something. What would be larger folded
    stays computed (`igc.passes.growth`); where the program is `sliced` already, some of it has
    become small. What slicing itself takes of a weight that is stored once stays.
    """

    name: str = "fold constants"
    sliced: bool = False

    def __call__(self, program: Program, record: Record) -> Program:
        """The folded program; the same object where there was nothing to fold."""
        source, taken = program, decisions(program)
        program = taken.program
        facts = shapes(program)
        growth = Growth(program, facts)
        build = Builder(program)
        pool = build.pool
        hard = set(taken.nodes)
        for name, node in taken.nodes.items():
            pool.origins[name] = Origin(name, recipe=Computed(node))
        folded = False

        def make(node: fx.Node, env: Env) -> fx.Node | None:
            nonlocal folded
            if self.sliced and "source" not in node.meta:
                return None
            value = _evaluate(node, env, pool, facts, growth, record, program.dtype)
            if value is None:
                return None
            name, is_hard = _store(node, *value, growth.parts(call_of(node), env), pool, hard)
            if is_hard:
                hard.add(name)
            folded = True
            return build.attr(name, node.meta)

        result = build.rebuild(make)
        return result if folded or program is not source else source


def _evaluate(
    node: fx.Node,
    env: dict[fx.Node, Any],
    pool: ConstantPool,
    facts: dict[fx.Node, Value],
    growth: Growth,
    record: Record,
    dtype: torch.dtype,
) -> tuple[Tensor, torch.dtype | None] | None:
    """The node's value and, where that is kept in float64 for now, the type that it counts as.

    `dtype` is the program's own.
    """
    call = call_of(node)  # of which the node may be one output of several
    if call.op != "call_function" or not isinstance(call.target, torch._ops.OpOverload):
        return None
    if torch.Tag.nondeterministic_seeded in call.target.tags:
        return None
    operands = [env[n] for n in call.all_input_nodes]
    if any(m.op != "get_attr" and n not in growth.values
           for n, m in zip(call.all_input_nodes, operands, strict=True)):  # fmt: skip
        return None
    elements = sum(pool.values[p].numel() for p in growth.parts(call_of(node), env))
    narrow = narrower(facts[node].dtype, dtype)

    def look(operand: fx.Node) -> Tensor:
        value, own = _operand(operand, env, pool, growth)
        return cast_to(value, (own or facts[operand].dtype) if narrow else torch.float64)

    args, kwargs = mapped((call.args, call.kwargs), look)
    if not narrow:
        args, kwargs = retyped((args, kwargs), torch.float64)
    value = _result(call, args, kwargs)
    if call is not node:
        value = value[args_of(node)[1]]
    if not isinstance(value, Tensor):
        return None
    if value.numel() > elements + LARGEST_GROWTH:
        record.declined(node, f"stays computed: {value.numel()} numbers made of {elements}")
        return None
    own = facts[node].dtype
    assert own is not None
    if op_name(node) in GATHERS:
        held = sum(_bytes(p, pool) for p in growth.parts(call_of(node), env))
        if value.numel() * own.itemsize > max(SMALL, LARGEST_COPY * held):
            record.declined(node, f"stays gathered: over {LARGEST_COPY} times its table")
            return None
    why = growth.refuses(node, value, own, env, pool)
    if why:
        growth.keep(node, value, env)
        record.declined(node, why)
        return None
    stored = value.to(own).contiguous()
    exact = not own.is_floating_point or torch.equal(stored.double(), value.double())
    return (stored, None) if exact else (value.contiguous(), own)


def _result(call: fx.Node, args: Any, kwargs: Any) -> Any:
    assert callable(call.target)
    try:
        with torch.no_grad():
            return call.target(*args, **kwargs)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        first = first_line(error)
        raise Refused(f"layer '{layer_of(call)}': constant {call.target} fails: {first}") from error


def _operand(
    operand: fx.Node, env: dict[fx.Node, Any], pool: ConstantPool, growth: Growth
) -> tuple[Tensor, torch.dtype | None]:
    """Its value, and the type that it counts as where it is a constant."""
    if operand in growth.values:
        return growth.values[operand], None
    name = str(env[operand].target)
    return pool.values[name], pool.kind(name)


def _bytes(name: str, pool: ConstantPool) -> int:
    return pool.values[name].numel() * pool.kind(name).itemsize


def _store(
    node: fx.Node,
    value: Tensor,
    counts_as: torch.dtype | None,
    parts: list[str],
    pool: ConstantPool,
    hard: set[str],
) -> tuple[str, bool]:
    is_hard = any(p in hard for p in parts) or decides(call_of(node))
    if is_hard:
        value = snapped(value)
    base = max(parts, key=lambda p: pool.values[p].numel(), default="constant")
    for part in parts:  # a mask of ones changes nothing
        old = pool.values[part]
        same = (old.dtype, pool.kinds.get(part)) == (value.dtype, counts_as)
        if same and old.shape == value.shape and torch.equal(old, value):
            return part, is_hard
    sources = tuple(dict.fromkeys(s for p in parts for s in pool.sources(p)))
    recipe = _recipe(node)
    told = f"fold {call_of(node).target}"
    origin = Origin(base.partition("~")[0], (), told, sources, recipe)
    return pool.add(base, value, origin, counts_as), is_hard


def _recipe(node: fx.Node) -> Recipe:
    """How the value is made: the gated graph's node, or the part of it that slicing left."""
    kept = node.meta.get("kept", {})
    if not kept:
        return Computed(str(node.meta.get("source", node.name)))
    rank = 1 + max(kept)
    index = tuple(tuple(kept[a]) if a in kept else None for a in range(rank))
    recipe: Recipe = required(take(Computed(str(node.meta["source"])), index))
    return recipe
