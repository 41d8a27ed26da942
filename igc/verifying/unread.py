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

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from igc.graph import Program, copy_node, execute
from igc.network import storage_key

TOLERANCE = 1e-10  # of an output's largest value: b + 1 * (a - b) rounds
NUDGE = 1e-3
TILT = 0.125
FLAT = frozenset({"relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "threshold", "clamp",
                  "clamp_min", "clamp_max", "softshrink", "hardshrink"})  # fmt: skip
ELEMENTWISE = frozenset({"mul", "add", "sub", "rsub", "div", "where", "lerp", "masked_fill"})


class Unread:
    """The test on one gated program, with the decisions that its gates make already taken."""

    def __init__(
        self, program: Program, source: Program, held: Mapping[str, Tensor], chosen: Sequence[int],
        inputs: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """`held` says which elements of the constants of `source` are not to be touched."""
        self.inputs, self.chosen = inputs, chosen
        self.plain, self.tilted = program, tilted(program)
        self.gates = {n for by in source.gates.values() for n in by.values()}
        self.gates |= set(source.mixes.values())
        tied: dict[Any, Tensor] = {}
        for name, tensor in source.constants.items():  # tied tensors are held together
            key = storage_key(tensor, name)
            tied[key] = tied[key] | held[name] if key in tied else held[name]
        self.out = {
            name: ~tied[storage_key(tensor, name)]
            for name, tensor in source.constants.items()
            if name in program.constants and tensor.dtype.is_floating_point
        }
        self.out = {n: m for n, m in self.out.items() if m.any() and n not in self.gates}
        self.base = [self.run(p, ()) for p in (self.plain, self.tilted)]

    def run(self, program: Program, names: Sequence[str]) -> list[Tensor]:
        """The chosen outputs with the elements of these constants that are left out replaced."""
        constants = {n: _other(program.constants[n], self.out[n]) for n in names}
        changed = program.with_graph(program.graph, {**program.constants, **constants})
        with torch.no_grad():
            outputs = execute(changed, self.inputs, dtype=torch.float64)
        return [outputs[i] for i in self.chosen]

    def moves(self, names: Sequence[str]) -> bool:
        """Whether some output moves."""
        for program, base in zip((self.plain, self.tilted), self.base, strict=True):
            pairs = zip(self.run(program, names), base, strict=True)
            if not all(_same(a, b) for a, b in pairs):
                return True
        return False

    def culprits(self) -> tuple[list[str], list[str]]:
        """The constants that are read although elements are left out, and those taken as gates.

        Masks and coefficients of hand-written gates are taken as given where that is needed.
        """
        names = list(self.out)
        if not self.moves(names):
            return [], sorted(self.gates)
        masks = {n for n in names if is_mask(self.plain, n)}
        rest = [n for n in names if n not in masks]
        return self._find(rest), sorted(self.gates | masks)

    def _find(self, names: list[str], most: int = 3) -> list[str]:
        if not names or not self.moves(names):
            return []
        if len(names) == 1:
            return names
        half = len(names) // 2
        first = self._find(names[:half], most)
        return first if len(first) >= most else first + self._find(names[half:], most - len(first))

    @property
    def elements(self) -> int:
        """How many elements are left out."""
        return sum(int(m.sum()) for m in self.out.values())


def is_mask(program: Program, name: str) -> bool:
    """Whether a constant is zeros and ones, or only ever an elementwise factor or summand."""
    value = program.constants[name]
    if bool(((value == 0) | (value == 1)).all()):
        return True
    made: set[fx.Node] = set()
    for node in program.graph.nodes:
        own = node.op == "get_attr" and str(node.target) == name
        if own:
            made.add(node)
        elif node.op == "call_function" and not made.isdisjoint(node.all_input_nodes):
            if all(n.op == "get_attr" or n in made for n in node.all_input_nodes):
                made.add(node)
            elif _kind(node) not in ELEMENTWISE:
                return False
    return True


def tilted(program: Program) -> Program:
    """The program with its flat activations tilted, except where constants alone go in."""
    varies: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder" or not varies.isdisjoint(node.all_input_nodes):
            varies.add(node)
    return _replaced(program, lambda n: _tilt if n in varies and _kind(n) in FLAT else None)


def differentiable(program: Program) -> Program:
    """The program with batch norms that can be differentiated by their statistics too."""
    return _replaced(program, lambda n: _batch_norm if _kind(n) == "batch_norm" else None)


def _replaced(
    program: Program, choose: Callable[[fx.Node], Callable[..., Tensor] | None]
) -> Program:
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        new = env[node] = copy_node(graph, node, env.__getitem__)
        chosen = choose(node)
        if chosen is not None:
            new.target = partial(chosen, node.target)
    return program.with_graph(graph, program.constants)


def _tilt(function: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return function(x, *args, **kwargs) + TILT * (x - x[:1])


def _batch_norm(_: Any, x: Tensor, *args: Any) -> Tensor:
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    weight, bias, mean, var = (0 if a is None else a.reshape(shape) for a in args[:4])
    factor = torch.rsqrt(var + args[6]) * (1 if args[0] is None else weight)
    return (x - mean) * factor + bias


def _kind(node: fx.Node) -> str:
    text = str(node.target) if node.op == "call_function" else ""
    return text.split(".")[1].rstrip("_") if text.startswith("aten.") else ""


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
