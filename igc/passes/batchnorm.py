"""FoldBatchNorm: a batch norm right after a convolution or linear becomes part of its weights.

    w' = w * s      b' = (b - mean) * s + beta      s = gamma / sqrt(var + eps)

Computed in float64 and rounded once, when the static network is emitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from igc.ops import Facts, relation
from igc.ops.facts import operand
from igc.ops.relations import Mixing
from igc.passes.builder import Builder
from igc.passes.record import Record
from igc.program import Origin, Program
from igc.program.dtypes import narrower
from igc.program.nodes import mapped
from igc.program.rebuild import Env
from igc.program.recipe import Recipe, Scale, Shift, over, required
from igc.program.schema import argument, bind, changed

aten = torch.ops.aten
PARAMETERS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class FoldBatchNorm:
    """Fold every batch norm whose operand is a convolution or linear that nothing else reads."""

    name: str = "fold batch norm"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program with fewer batch norms; the same object where none could be folded."""
        facts = Facts.of(program)
        folds = {}
        for node in program.graph.nodes:
            if node.target is aten.batch_norm.default:
                producer = _producer(node, facts, record)
                if producer is not None:
                    folds[producer] = node
        return _Folder(program, facts).run(folds) if folds else program


def _producer(node: fx.Node, facts: Facts, record: Record) -> fx.Node | None:
    x = operand(node, "input")
    if bool(argument(node, "training")):
        record.declined(node, "batch norm uses the batch's own statistics")
        return None
    rel = relation(x, facts) if x.op == "call_function" else None
    if not isinstance(rel, Mixing) or rel.out_axis != 1 or _bias_name(x) is None:
        record.declined(node, "batch norm is not right after a convolution or linear")
        return None
    if narrower(facts.at[x].dtype, facts.program.dtype):
        record.declined(node, f"the author rounds its weights to {facts.at[x].dtype}")
        return None
    if len(x.users) > 1:
        record.declined(node, "the convolution's output is also read without the batch norm")
        return None
    if any(n is not None and n.op != "get_attr" for n in (rel.weight.node, rel.bias)):
        record.declined(node, "the weight before the batch norm is computed")
        return None
    return x


def _bias_name(node: fx.Node) -> str | None:
    """The argument of a layer that holds its bias; None for a product without one."""
    if node.target is aten.addmm.default:
        return "self"
    return "bias" if "bias" in bind(node) else None


class _Folder:
    def __init__(self, program: Program, facts: Facts) -> None:
        self.program, self.facts = program, facts
        self.build = Builder(program)
        self.pool = self.build.pool

    def run(self, folds: dict[fx.Node, fx.Node]) -> Program:
        norms = {norm: producer for producer, norm in folds.items()}

        def make(node: fx.Node, env: Env) -> fx.Node | None:
            if node in norms:
                return cast("fx.Node", env[norms[node]])
            return self.fold(node, folds[node], env) if node in folds else None

        return self.build.rebuild(make)

    def fold(self, node: fx.Node, norm: fx.Node, env: Env) -> fx.Node:
        rel = relation(node, self.facts)
        assert isinstance(rel, Mixing)
        scale, shift = self.affine(norm)
        weight_name = str(rel.weight.node.target)
        own = self.program.kind(weight_name)
        weight = self.pool.values[weight_name].double()
        new = weight * _along(scale, weight, rel)
        bias = self.double(rel.bias)
        new_bias = shift if bias is None else bias * scale + shift
        tensors = [argument(norm, name) for name in PARAMETERS]
        parts = tuple(str(a.target) for a in tensors if isinstance(a, fx.Node))
        gamma, beta, mean, var = (self.recipe(a) for a in tensors)
        eps = float(argument(norm, "eps"))
        groups = rel.groups if rel.transposed else 1
        kernel = over(Scale, self.recipe(rel.weight.node), rel.w_out, groups, gamma, var, eps)
        shifted = over(Shift, self.recipe(rel.bias), gamma, beta, mean, var, eps)
        bias_name = (
            weight_name.rpartition(".")[0] + ".bias" if rel.bias is None else str(rel.bias.target)
        )
        w = self.add(weight_name, new, own, self.origin(weight_name, parts, kernel))
        made_of = (weight_name, *parts)
        b = self.add(bias_name.lstrip("."), new_bias, own, self.origin(bias_name, made_of, shifted))
        weight_at = next(k for k, v in bind(node).items() if v is rel.weight.node)
        bias_at = _bias_name(node)
        assert bias_at is not None
        args, kwargs = changed(node, {
            weight_at: self.build.attr(w, node.meta), bias_at: self.build.attr(b, node.meta),
        })  # fmt: skip

        def look(read: fx.Node) -> Any:
            return env.get(read, read)

        args, kwargs = mapped((args, kwargs), look)
        result = self.build.graph.create_node(
            "call_function", node.target, tuple(args), kwargs, name=node.name
        )
        # The node now computes what the batch norm computed.
        result.meta = {
            **node.meta,
            **{k: norm.meta[k] for k in ("source", "kept") if k in norm.meta},
        }
        return result

    def add(self, name: str, value: Tensor, own: torch.dtype, origin: Origin) -> str:
        """A new constant, in float64 for now, that counts as the type of its layer."""
        return self.pool.add(name, value, origin, own)

    def recipe(self, node: Any) -> Any:
        """The recipe of an operand; None where there is no operand."""
        return required(self.pool.recipe(str(node.target))) if isinstance(node, fx.Node) else None

    def origin(self, name: str, parts: tuple[str, ...], recipe: Recipe | None) -> Origin:
        before = self.pool.origin(name)
        sources = tuple(dict.fromkeys(s for p in (name, *parts) for s in self.pool.sources(p)))
        return Origin(before.source, before.index, "fold batch norm", sources, recipe)

    def double(self, node: Any) -> Tensor | None:
        return self.pool.values[str(node.target)].double() if isinstance(node, fx.Node) else None

    def affine(self, norm: fx.Node) -> tuple[Tensor, Tensor]:
        weight, bias, mean, var = (self.double(argument(norm, name)) for name in PARAMETERS)
        assert mean is not None and var is not None
        scale = (var + float(argument(norm, "eps"))).rsqrt()
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale
        return scale, shift if bias is None else shift + bias


def _along(scale: Tensor, weight: Tensor, rel: Mixing) -> Tensor:
    """The scale shaped to multiply the weight's output channels."""
    shape = [1] * weight.ndim
    if not rel.transposed or rel.groups == 1:
        shape[rel.w_out] = -1
        return scale.reshape(shape)
    per_in = weight.shape[0] // rel.groups
    grouped = scale.reshape(rel.groups, 1, -1).expand(-1, per_in, -1)
    return grouped.reshape(weight.shape[0], weight.shape[1], *shape[2:])
