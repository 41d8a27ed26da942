"""Are the rows that the compiled network lacks truly unread? An argument from the gates alone.

Every element that no compiled tensor depends on is multiplied by a random factor about a thousandth
above 1, and the gated network is run in float64 before and after. Its outputs must not move by
more than 1e-10 of their largest value; an element that is read moves them by some 1e-6. The run is
made twice: as the network is, and with every activation that has flat stretches tilted,
f(x) + (x - x') / 8, x' being the value for the first input of the batch; a row that is read only
behind a ReLU that happens to be off is then seen too.

What it shows: had these elements been others, on these inputs, the outputs would be the same, so no
output reads them; one that is read goes unseen only where random factors cancel. What it does not
show: that the elements which are held are wired as they should be (for that the outputs are
compared), and nothing about elements that are exactly zero (a factor leaves them, as channels that
are constantly zero rest on them) or about the gates, which are the premise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from igc.certificate.manifest import ranges
from igc.program import Program
from igc.program.decisions import Decided
from igc.program.digest import storage_key
from igc.program.execute import execute
from igc.program.nodes import copy_node
from igc.program.rebuild import Env, rebuild
from igc.program.schema import op_name

TOLERANCE = 1e-10  # of an output's largest value: b + 1 * (a - b) rounds
NUDGE = 1e-3
TILT = 0.125
FLAT = frozenset({"relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "threshold", "clamp",
                  "clamp_min", "clamp_max", "softshrink", "hardshrink"})  # fmt: skip
Part = tuple[str, Tensor]  # some elements of a constant
ELEMENTWISE = frozenset({"mul", "add", "sub", "rsub", "div", "where", "lerp", "masked_fill"})

#: By these a constant matrix of zeros and ones selects: a permutation, one-hot rows.
PRODUCTS = frozenset({"matmul", "mm", "bmm", "linear", "einsum", "tensordot",
                      "conv1d", "conv2d", "conv3d"})  # fmt: skip


def left_out(program: Program, source: Program, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The elements of each floating constant of `program` that are not held, gates apart.

    `held` says of every constant of `source`, the gated program, which elements are. Tied tensors
    are held together.
    """
    tied: dict[Any, Tensor] = {}
    for name, tensor in source.constants.items():
        key = storage_key(tensor, name)
        tied[key] = tied[key] | held[name] if key in tied else held[name]
    gates = gate_names(source)
    out = {
        name: ~tied[storage_key(tensor, name)]
        for name, tensor in source.constants.items()
        if name in program.constants and tensor.dtype.is_floating_point and name not in gates
    }
    return {name: mask for name, mask in out.items() if mask.any()}


def gate_names(source: Program) -> set[str]:
    """The parameters of the gates and mixes that are known by name."""
    return {n for by in source.gates.values() for n in by.values()} | set(source.mixes.values())


class Unread:
    """The test on one gated program, with the decisions that its gates make already taken.

    `out` says which elements of its constants are replaced.
    """

    def __init__(
        self, program: Program, out: Mapping[str, Tensor], chosen: Sequence[int],
        inputs: Sequence[Tensor],
    ) -> None:  # fmt: skip
        self.inputs, self.chosen, self.out = inputs, chosen, out
        self.plain, self.tilted = program, tilted(program)
        self.base = [self.run(p, {}) for p in (self.plain, self.tilted)]

    def run(self, program: Program, out: Mapping[str, Tensor]) -> list[Tensor]:
        """The chosen outputs with these elements replaced."""
        constants = {n: _other(program.constants[n], mask) for n, mask in out.items()}
        changed = program.with_graph(program.graph, {**program.constants, **constants})
        with torch.no_grad():
            outputs = execute(changed, self.inputs, dtype=torch.float64)
        return [outputs[i] for i in self.chosen]

    def moves(self, out: Mapping[str, Tensor]) -> bool:
        """Whether some output moves."""
        for program, base in zip((self.plain, self.tilted), self.base, strict=True):
            pairs = zip(self.run(program, out), base, strict=True)
            if not all(_same(a, b) for a, b in pairs):
                return True
        return False

    def culprits(self) -> dict[str, Tensor]:
        """Elements that are read although they are left out: of three constants, three rows each.

        A row is an entry of the first axis. Empty where nothing that is left out is read.
        """
        found = {}
        for name, mask in self._find([*self.out.items()]):
            rows = self._find([(name, row) for row in _rows(mask)])
            found[name] = torch.stack([row for _, row in rows]).any(0) if rows else mask
        return found

    def _find(self, parts: list[Part], most: int = 3) -> list[Part]:
        """At most so many of the parts that move an output by themselves."""
        out: dict[str, Tensor] = {}
        for name, mask in parts:
            out[name] = out[name] | mask if name in out else mask
        if not parts or not self.moves(out):
            return []
        if len(parts) == 1:
            return parts
        half = len(parts) // 2
        first = self._find(parts[:half], most)
        return first if len(first) >= most else first + self._find(parts[half:], most - len(first))


def hand_written_gates(
    decided: Decided, source: Program, factors: Collection[str], out: Mapping[str, Tensor]
) -> set[str]:
    """Constants that are gates by the way they are read, in networks that do not name them.

    `decided` is `source` with its decisions taken. A gate decides something, or is
    among `factors`, or is zeros and ones, at least in the elements that are left `out`; and all
    that is done with it is to multiply, add or choose. One of zeros and ones may be a matrix.
    """
    program, at = decided.program, set(decided.nodes.values())
    deciding = {n for n in source.graph.nodes if n.name in at}
    for node in reversed(source.graph.nodes):
        if node in deciding:
            deciding.update(node.all_input_nodes)
    names = {str(n.target) for n in deciding if n.op == "get_attr"} | set(factors)
    binary = {
        n for n, v in program.constants.items()
        if v.dtype.is_floating_point and bool(((v == 0) | (v == 1) | ~out.get(n, v == v)).all())
    }  # fmt: skip
    return {
        n for n in names | binary if n in program.constants
        and _is_factor(decided, n, ELEMENTWISE | PRODUCTS if n in binary else ELEMENTWISE)
    }  # fmt: skip


def leaves_of(node: fx.Node) -> set[str]:
    """The constants that a node is made of; none where it depends on the input."""
    seen, stack = {node}, [node]
    while stack:
        new = set(stack.pop().all_input_nodes) - seen
        seen |= new
        stack.extend(new)
    constant = not any(n.op == "placeholder" for n in seen)
    return {str(n.target) for n in seen if n.op == "get_attr"} if constant else set()


def _is_factor(decided: Decided, name: str, factoring: frozenset[str]) -> bool:
    """Whether a constant, and what is made of it alone, is only a factor, a summand or a choice.

    Decisions, and numbers that the graph itself holds, may have a part in what is made.
    """
    made: set[fx.Node] = set()
    numbers: set[fx.Node] = set()  # what is made of nothing: the zeros that a mask is written into
    for node in decided.program.graph.nodes:
        if node.op == "get_attr" and str(node.target) == name:
            made.add(node)
        elif node.op == "call_function" and numbers.issuperset(node.all_input_nodes):
            numbers.add(node)
        elif node.op == "call_function" and not made.isdisjoint(node.all_input_nodes):
            others = set(node.all_input_nodes) - made - numbers
            if all(n.op == "get_attr" and str(n.target) in decided.nodes for n in others):
                made.add(node)
            elif op_name(node) not in factoring:
                return False
    return True


def count(masks: Mapping[str, Tensor]) -> int:
    """How many elements."""
    return sum(int(mask.sum()) for mask in masks.values())


def rows(mask: Tensor) -> str:
    """Where the elements lie: "rows 0-2,5", along the first axis, or columns where all rows are."""
    if not mask.ndim:
        return "its only element"
    sides = [mask.movedim(axis, 0).reshape(len(mask.movedim(axis, 0)), -1).any(1)
             for axis in range(min(mask.ndim, 2))]  # fmt: skip
    named = list(zip(("rows", "columns"), sides, strict=False))
    some = [(what, side) for what, side in named if not side.all()] or named[:1]
    return ", ".join(f"{what} {ranges(side.nonzero().flatten().tolist())}" for what, side in some)


def tilted(program: Program) -> Program:
    """The program with its flat activations tilted, except where constants alone go in."""
    varies: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder" or not varies.isdisjoint(node.all_input_nodes):
            varies.add(node)
    return _replaced(program, lambda n: _tilt if n in varies and op_name(n) in FLAT else None)


def differentiable(program: Program) -> Program:
    """The program with batch norms that can be differentiated by their statistics too."""
    return _replaced(program, lambda n: _batch_norm if op_name(n) == "batch_norm" else None)


def _replaced(
    program: Program, choose: Callable[[fx.Node], Callable[..., Tensor] | None]
) -> Program:
    """The program that calls what is chosen, on the function it called before, in its place."""

    def make(graph: fx.Graph, node: fx.Node, env: Env) -> fx.Node | None:
        chosen = choose(node)
        if chosen is None:
            return None
        new = copy_node(graph, node, env.__getitem__)
        new.target = partial(chosen, node.target)
        return new

    return rebuild(program, make)


def _tilt(function: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return function(x, *args, **kwargs) + TILT * (x - x[:1])


def _batch_norm(
    _: Any, x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool,
    momentum: float, eps: float, *rest: Any,
) -> Tensor:  # fmt: skip
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    parts: list[Any] = [0 if a is None else a.reshape(shape) for a in (weight, bias, mean, var)]
    scale, shift, centre, spread = parts
    factor = torch.rsqrt(spread + eps) * (1 if weight is None else scale)
    result: Tensor = (x - centre) * factor + shift
    return result


def _rows(mask: Tensor) -> list[Tensor]:
    """The mask cut into the entries of its first axis, those that hold anything."""
    if not mask.ndim:
        return [mask]
    found = []
    for row in mask.reshape(len(mask), -1).any(1).nonzero().flatten().tolist():
        one = torch.zeros_like(mask)
        one[row] = mask[row]
        found.append(one)
    return found


def _other(value: Tensor, where: Tensor) -> Tensor:
    """The value with a random factor on each of these elements; zeros and signs stay."""
    generator = torch.Generator().manual_seed(where.numel())
    factor = 1 + NUDGE * (0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64))
    return torch.where(where, value.double() * factor, value.double())


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype.is_floating_point:
        gap, scale = (a - b).abs(), b.abs().nan_to_num(0.0, 0.0, 0.0)
        largest = float(scale.max()) if scale.numel() else 0.0
        return bool(((gap <= TOLERANCE * largest) | (a == b) | (a.isnan() & b.isnan())).all())
    return torch.equal(a, b)
