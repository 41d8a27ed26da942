"""What may an output read at all? Told by the gated graph and its gates, whatever the inputs.

Forwards: which values may differ from zero? An input may; a constant does or not; what a closed
gate multiplies does not. Backwards from the outputs: which values may be read? Neither an operand
whose every factor is zero, nor one that a gate does not pick. Both come from one surrogate per op
(`igc.audit.surrogates`); an op that has none reads all that it is given.

What it shows: whatever numbers stood in the elements that are not read, the outputs would be the
same, on every input of these sizes (`b + g * (a - b)` to rounding). What it takes as given: gates,
and that what is zero stays zero. It is cautious: an element that it calls read may be unread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx

from igc.audit.surrogates import pick, surrogate
from igc.program import Program
from igc.program.decisions import snapped
from igc.program.dtypes import retyped
from igc.program.execute import execute
from igc.program.nodes import args_of, mapped
from igc.program.schema import argument, op_name

Parts = tuple[Tensor, ...]  # an op may have several values
FAILS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError)


@dataclass(frozen=True)
class Argued:
    """The elements left out, `out`, and two parts of them; the rest the graph shows to be unread.

    `zero`: as far as the graph tells they may be read, but they are zero, and stay so.
    `open`: those that it does not show to be unread. `given`: gates that had to be taken as given.
    """

    out: dict[str, Tensor]
    zero: dict[str, Tensor]
    open: dict[str, Tensor]
    given: set[str]


def by_graph(
    program: Program, out: Mapping[str, Tensor], gates: Collection[str], chosen: Sequence[int],
    inputs: Sequence[Tensor],
) -> Argued:  # fmt: skip
    """Which of the elements left out, `out`, the chosen outputs cannot read.

    The program's decisions are taken already (`decisions`). Constants among `gates` are
    taken as given where they would be read otherwise.
    """

    def doubtful(names: Collection[str]) -> dict[str, Tensor]:
        read = Reach(program, inputs, chosen, names).read
        found = {n: out[n] & read[n] for n in names if n in read}
        return {n: mask for n, mask in found.items() if mask.any()}

    found = doubtful(out)
    given = found.keys() & set(gates)
    if given:
        found = doubtful(out.keys() - given)
    zero = {n: mask & (program.constants[n] == 0) for n, mask in found.items()}
    left = {n: mask & ~zero[n] for n, mask in found.items()}
    return Argued(
        {n: mask for n, mask in out.items() if n not in given},
        {n: mask for n, mask in zero.items() if mask.any()},
        {n: mask for n, mask in left.items() if mask.any()},
        given,
    )


class Reach:
    """`read[name]`: which elements of a constant the chosen outputs may read; absent means none.

    `loose` names the constants that are looked into. Nodes that depend on none of them and on no
    input, gates above all, are taken with their values. `unknown` are the ops without a surrogate.
    """

    def __init__(
        self, program: Program, inputs: Sequence[Tensor], chosen: Iterable[int],
        loose: Collection[str],
    ) -> None:  # fmt: skip
        self.program, self.loose = program, loose
        self.read: dict[str, Tensor] = {}
        self.unknown: set[str] = set()
        self.like: dict[fx.Node, Any] = {}  # every value without its numbers
        self.plain: dict[fx.Node, Any] = {}  # values taken as they are
        self.may: dict[fx.Node, Parts] = {}  # which may differ from zero
        shapes = [i.to("meta") for i in inputs]
        execute(program, shapes, device="meta", visit=self.like.__setitem__)
        nodes = [n for n in program.graph.nodes if n.op != "output"]
        for node in nodes:
            self._forwards(node)
        wanted = {program.output_nodes[i] for i in chosen} & self.may.keys()
        reads = {n: tuple(torch.ones_like(m) for m in self.may[n]) for n in wanted}
        for node in reversed(nodes):
            if node in reads:
                self._backwards(node, reads)

    def _forwards(self, node: fx.Node) -> None:
        like = self.like[node]
        if node.op == "get_attr":
            value = self.program.constants[str(node.target)]
            if str(node.target) not in self.loose:
                self.plain[node] = value.double() if value.is_floating_point() else value
            self.may[node] = (value != 0,)
        elif node.op == "placeholder":
            self.may[node] = (torch.ones(like.shape, dtype=torch.bool),)
        elif not isinstance(like, (Tensor, tuple, list)):
            self.plain[node] = like  # a size
        elif all(n in self.plain for n in node.all_input_nodes):
            args = retyped(mapped((node.args, node.kwargs), self.plain.get), torch.float64)
            value = cast("Callable[..., Any]", node.target)(*args[0], **args[1])
            self.plain[node] = snapped(value) if isinstance(value, Tensor) else value
            self.may[node] = tuple(v != 0 for v in _parts(self.plain[node]))
        else:
            with torch.no_grad():
                self.may[node] = tuple(f != 0 for f in self._value(node, self._operand))

    def _backwards(self, node: fx.Node, reads: dict[fx.Node, Parts]) -> None:
        if node.op == "get_attr":
            name = str(node.target)
            self.read[name] = self.read.get(name, torch.tensor(False)) | reads[node][0]
        if node.op != "call_function" or node in self.plain:
            return
        leaves: dict[fx.Node, Any] = {}

        def leaf(operand: fx.Node) -> Any:
            if operand not in leaves:
                leaves[operand] = self._operand(operand)
                for part in _parts(leaves[operand]):
                    if isinstance(part, Tensor) and part.is_floating_point():
                        part.requires_grad_()
            return leaves[operand]

        with torch.enable_grad():
            found = self._value(node, leaf)
        ends = [(f, r) for f, r in zip(found, reads[node], strict=True) if f.requires_grad]
        starts = [
            (operand, i, part)
            for operand, value in leaves.items()
            for i, part in enumerate(_parts(value))
            if isinstance(part, Tensor) and part.requires_grad
        ]
        if not ends or not starts:
            return
        grads: Sequence[Tensor | None] = torch.autograd.grad(
            [f for f, _ in ends], [p for *_, p in starts], [r.float() for _, r in ends],
            allow_unused=True,
        )  # fmt: skip
        for (operand, i, _), grad in zip(starts, grads, strict=True):
            may = self.may[operand]
            parts = list(reads.get(operand, [torch.zeros_like(m) for m in may]))
            if grad is not None and operand.op == "get_attr":
                parts[i] = parts[i] | (grad > 0)
            elif grad is not None:  # what is zero in any case needs nothing before it
                parts[i] = parts[i] | (grad > 0) & may[i]
            reads[operand] = tuple(parts)

    def _operand(self, node: fx.Node) -> Any:
        """Ones and zeros for a floating value; sizes, masks and indices that are known as such."""
        value = self.plain.get(node)
        if node in self.plain and not (isinstance(value, Tensor) and value.is_floating_point()):
            return value
        made = tuple(m.float() for m in self.may[node])
        return made[0] if isinstance(self.like[node], Tensor) else made

    def _value(self, node: fx.Node, look: Callable[[fx.Node], Any]) -> Parts:
        """The node's surrogate over its operands; their sum where it has none, or does not fit."""
        like = _parts(self.like[node])
        function, args = self._picking(node) or (
            surrogate(op_name(node), node.target, getattr(self.like[node], "shape", None)),
            args_of(node),
        )
        if function is not None:
            try:
                own, named = mapped((args, node.kwargs), look)
                found = _parts(function(*own, **named))
                if [f.shape for f in found] == [x.shape for x in like]:
                    return tuple(f.float() for f in found)
            except FAILS:
                pass
        self.unknown.add(str(node.target))
        parts = [p for n in node.all_input_nodes for p in _parts(look(n))]
        total = sum((p.float().abs().sum() for p in parts if isinstance(p, Tensor)), torch.ones(()))
        return tuple(total.expand(x.shape) for x in like)

    def _picking(self, node: fx.Node) -> tuple[Any, Any] | None:
        """lerp(a, b, g), or a + g * (b - a), by a known g: the pick and its operands a and b."""
        kind, args = op_name(node), args_of(node)
        if kind == "lerp" and (weight := argument(node, "weight")) in self.plain:
            return partial(pick, self.plain[weight]), args[:2]
        if kind != "add" or node.kwargs:
            return None
        for a, product in (args, args[::-1]):
            for d, gate in _factors(product):
                if op_name(d) == "sub" and not d.kwargs and gate in self.plain:
                    b, taken = args_of(d)
                    if taken is a:
                        return partial(pick, self.plain[gate]), (a, b)
        return None


def _factors(node: Any) -> list[tuple[fx.Node, fx.Node]]:
    if not isinstance(node, fx.Node) or op_name(node) != "mul":
        return []
    a, b = args_of(node)
    return [(a, b), (b, a)] if isinstance(a, fx.Node) and isinstance(b, fx.Node) else []


def _parts(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
