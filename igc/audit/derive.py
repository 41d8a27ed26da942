"""Evaluating a manifest's recipes on the checkpoint, in float64, without any pass.

Nodes that depend on constants alone are run as the gated graph has them, decisions in the network's
own precision. Coefficients are derivatives of the gated graph: a mix that multiplies source channel
k by w has the derivative w by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx

from igc.audit.recipes import EQUAL, Evaluator
from igc.audit.unread import differentiable, leaves_of
from igc.program import Program
from igc.program.decisions import decides, decisions, snapped
from igc.program.dtypes import cast_to, narrower, retyped
from igc.program.execute import execute
from igc.program.nodes import mapped
from igc.program.recipe import Computed, Known, Recipe, Slope, Stored
from igc.program.schema import argument, op_name
from igc.program.shapes import shapes


class Deriver(Evaluator):
    """Evaluates recipes over one gated program; `held` collects what the values depend on.

    An element is held where a value's derivative by it is not zero.
    """

    def __init__(
        self, program: Program, inputs: Sequence[Tensor], index: Sequence[str], most: int
    ) -> None:
        super().__init__(index, most)
        self.program, self.inputs = differentiable(decisions(program).program), inputs
        self.source = program.constants
        self.kinds = shapes(self.program)
        self.nodes = {n.name: n for n in self.program.graph.nodes}
        norms = (n for n in program.graph.nodes if "batch_norm" in op_name(n))
        self.eps = {argument(n, "eps") for n in norms}
        self.held = {n: torch.zeros(t.shape, dtype=torch.bool) for n, t in self.source.items()}
        self.leaves: dict[str, Tensor] = {}
        self.stored: dict[fx.Node, Tensor] = {}
        self.constant: set[fx.Node] = set()  # wanted for what is constant in them
        self.traced: dict[fx.Node, Tensor] = {}  # these, as they depend on `shared`
        self.shared: dict[str, Tensor] = {}
        self.factors: set[str] = set()  # constants that coefficients were derived from
        self.later: list[tuple[Tensor, dict[str, Tensor]]] = []

    def value(self, recipe: Recipe) -> Tensor:
        """The value of a recipe in float64 (integers as they are); marks in `held` what it reads.

        Raises one of `igc.audit.auditor.MALFORMED` for a recipe that means nothing.
        """
        self.leaves, self.uses_trace = {}, False
        with torch.enable_grad():
            result = self._of(recipe)
        if result.requires_grad and self.uses_trace:
            self.later.append((result, self.leaves))
        elif result.requires_grad:
            self._hold([result], self.leaves.items())
        return result.detach()

    def finish(self) -> None:
        """Marks what values taken from the traced run depend on, all of them at once."""
        leaves = [*self.shared.items(), *(i for _, own in self.later for i in own.items())]
        if self.later:
            self._hold([result for result, _ in self.later], leaves)

    def _hold(self, results: Sequence[Tensor], leaves: Iterable[tuple[str, Tensor]]) -> None:
        leaves = [(n, t) for n, t in leaves if t.requires_grad]
        make = torch.Generator().manual_seed(0)
        weights = [1 + torch.rand(r.shape, dtype=r.dtype, generator=make) for r in results]
        found = torch.autograd.grad(results, [t for _, t in leaves], weights, allow_unused=True)
        for (name, _), grad in zip(leaves, found, strict=True):
            if grad is not None:
                self.held[name] |= grad != 0

    def tensor(self, recipe: Stored) -> Tensor:
        """A checkpoint tensor."""
        return self._leaf(recipe.name)

    def _leaf(self, name: str) -> Tensor:
        if name not in self.leaves:
            value = cast_to(self.source[name].detach(), torch.float64)
            self.leaves[name] = value.requires_grad_(value.dtype.is_floating_point)
        return self.leaves[name]

    def node(self, recipe: Computed) -> Tensor:
        """A node of the gated graph that depends on constants alone."""
        return cast("Tensor", self._constant(self.nodes[recipe.name], {})[0])

    def _constant(self, node: fx.Node, known: dict[fx.Node, tuple[Any, bool]]) -> tuple[Any, bool]:
        """Its value, and whether a decision is in it: a gate within rounding of 0 and 1 is hard."""
        if node not in known:
            if node.op == "get_attr":
                name = str(node.target)
                taken = name not in self.source  # a decision taken in the own precision
                value = cast_to(self.program.constants[name], torch.float64)
                known[node] = (value if taken else self._leaf(name), taken)
            elif node.op != "call_function":
                raise ValueError(f"node '{node.name}' depends on the input")
            else:
                parts = {n: self._constant(n, known) for n in node.all_input_nodes}
                value = self._rounded(node, run(node, lambda n: parts[n][0]), parts)
                hard = any(h for _, h in parts.values()) or decides(node)
                known[node] = (snapped(value) if hard else value, hard)
        return known[node]

    def _rounded(self, node: fx.Node, value: Any, parts: dict[fx.Node, tuple[Any, bool]]) -> Any:
        """The value as a type narrower than the network's has it, where the author computes in one.

        It is that of the call in the own types of what it reads; its derivative is the exact one.
        """
        dtype = self.kinds[node].dtype
        if not isinstance(value, Tensor) or not narrower(dtype, self.program.dtype):
            return value
        args, kwargs = mapped(
            (node.args, node.kwargs),
            lambda n: cast_to(parts[n][0].detach(), self.kinds[n].dtype),
        )
        with torch.no_grad():
            own = cast("Tensor", cast("Callable[..., Any]", node.target)(*args, **kwargs))
        return value + (own.double() - value).detach()

    def slope(self, recipe: Slope) -> Tensor:
        """Coefficients of a sum, zero where no part names them."""
        node, axis = self.nodes[recipe.node], recipe.axis
        result = torch.zeros(min(recipe.size, self.most), dtype=torch.float64)
        for part in recipe.parts:
            out = self.numbers(part.channels)
            cut = [self.nodes[s] for s in part.sources]
            of = self.numbers(part.picks) if part.source else out
            total = self._slope(node, axis, cut, self.nodes.get(part.source), out, of)
            for twin in part.equal:
                other = self.nodes[twin.node]
                i, c = self.numbers(twin.places), self.numbers(twin.own)
                a, b = (self.stored[n].movedim(axis, 0) for n in (self.nodes[part.source], other))
                if not torch.allclose(a[of[i]], b[c], EQUAL, EQUAL):
                    raise ValueError(f"'{twin.node}' does not equal '{part.source}'")
                total.index_add_(0, i, self._slope(node, axis, cut, other, out[i], c))
            result[self.numbers(part.at)] = total
        return result

    def _slope(self, node: fx.Node, axis: int, cut: Any, by: Any, out: Any, of: Any) -> Tensor:
        """d node[out] / d by[of], or node[out] where the nodes of `cut` are zero."""
        between, stored = _between(node, set(cut)), self.stored
        for operand in {i for n in between for i in n.all_input_nodes} - {*between, *cut}:
            self.factors |= leaves_of(operand)
        if by is None:  # what constant channels add: it depends on the constants
            stored = self._trace()
        start = {n: self.stored[n] if by else torch.zeros_like(self.stored[n]) for n in cut}
        values = {n: t.clone().requires_grad_() for n, t in start.items()}
        for each in between:
            values[each] = run(each, lambda n: values.get(n, stored.get(n)))
        flat = values[node].movedim(axis, 0).flatten(1)[:, 0]
        if by is None:
            return flat[out]
        found = torch.zeros(len(of), dtype=torch.float64)
        once = len(set(of.tolist())) == len(of) == len(set(out.tolist()))
        for i in [slice(None)] if once else [slice(i, i + 1) for i in range(len(of))]:
            (grad,) = torch.autograd.grad(
                flat[out[i]].sum(), values[by], retain_graph=True, allow_unused=True
            )
            if grad is not None:
                found[i] = grad.movedim(axis, 0).flatten(1).sum(1)[of[i]]
        return found

    def prepare(self, asked: Iterable[Recipe]) -> None:
        """Runs the gated graph once, keeping the values that coefficients are derived from."""
        wanted: set[fx.Node] = set()
        for recipe in (r for each in asked for r in each.within()):
            if not isinstance(recipe, (Known, Slope)) or (recipe.node not in self.nodes):
                continue
            node = self.nodes[recipe.node]
            if isinstance(recipe, Known):
                self.constant.add(node)
                continue
            for part in recipe.parts:
                cut = {self.nodes[s] for s in part.sources if s in self.nodes}
                between = _between(node, cut)
                wanted |= cut.union(*(n.all_input_nodes for n in between))
                self.constant |= {i for n in between for i in n.all_input_nodes if not part.source}
        self._watch(wanted, self.stored)

    def _watch(self, wanted: set[fx.Node], into: dict[fx.Node, Any]) -> None:
        def visit(node: fx.Node, value: Any) -> None:
            if node in wanted:
                into[node] = value

        program = self.program.with_graph(
            self.program.graph, {**self.program.constants, **self.shared}
        )
        with torch.set_grad_enabled(bool(self.shared)):
            execute(program, self.inputs, dtype=torch.float64, visit=visit)

    def _trace(self) -> dict[fx.Node, Tensor]:
        """The values of `constant`, which depend on every constant: one run for all recipes."""
        if not self.shared:
            kept, self.leaves = self.leaves, {}
            self.shared = {n: self._leaf(n) for n in self.source.keys() & self.program.constants}
            self.leaves = kept
            self._watch(self.constant, self.traced)
        self.uses_trace = True
        return self.traced

    def known(self, recipe: Known) -> Tensor:
        """Channels that hold one number whatever the input."""
        value = self._trace()[self.nodes[recipe.node]].movedim(recipe.axis, 0)
        rows = value[self.numbers(recipe.channels)].flatten(1)
        if bool((rows.amax(1) - rows.amin(1) > 1e-9 * rows.abs().amax(1)).any()):
            raise ValueError(f"channels of '{recipe.node}' are called constant and vary")
        return rows[:, 0]


def _between(node: fx.Node, cut: set[fx.Node]) -> list[fx.Node]:
    """The nodes through which `node` depends on those of `cut`, without them, in order."""
    above, stack = set(cut), [node]
    while stack:
        each = stack.pop()
        if each not in above:
            above.add(each)
            stack.extend(each.all_input_nodes)
    below = set(cut)
    for each in node.graph.nodes:
        if each in above and not below.isdisjoint(each.all_input_nodes):
            below.add(each)
    return [n for n in node.graph.nodes if n in below - cut]


def run(node: fx.Node, look: Callable[[fx.Node], Any]) -> Any:
    """The node in float64, over operands looked up."""
    args, kwargs = retyped(mapped((node.args, node.kwargs), look), torch.float64)
    return cast("Callable[..., Any]", node.target)(*args, **kwargs)
