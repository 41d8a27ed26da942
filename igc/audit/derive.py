"""Evaluating a manifest's recipes (`igc.recipe`) on the checkpoint, in float64, without any pass.

Nodes that depend on constants alone are run as the gated graph has them, decisions in the network's
own precision. Coefficients are derivatives of the gated graph: a mix that multiplies source channel
k by w has the derivative w by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx

from igc.certificate import MAX_COUNT, numbers
from igc.graph import Program, cast_to, execute, mapped, retyped
from igc.precise import decided
from igc.verifying.unread import differentiable

DECIDING = ("where", "one_hot", "scatter", "argmax", "eq", "ne", "lt", "le", "gt", "ge")


class Deriver:
    """Evaluates recipes over one gated program; `held` collects what the values depend on.

    An element is held where a value's derivative by it is not zero.
    """

    def __init__(self, program: Program, inputs: Sequence[Tensor], index: Sequence[str]) -> None:
        self.program, self.inputs = differentiable(decided(program)), inputs
        self.source = program.constants
        self.nodes = {n.name: n for n in self.program.graph.nodes}
        self.index = index
        self.held = {n: torch.zeros(t.shape, dtype=torch.bool) for n, t in self.source.items()}
        self.leaves: dict[str, Tensor] = {}
        self.stored: dict[fx.Node, Tensor] = {}

    def value(self, recipe: Any) -> Tensor:
        """The value of a recipe in float64 (integers as they are); marks in `held` what it reads.

        Raises one of `igc.audit.check.MALFORMED` for a recipe that means nothing.
        """
        self.leaves = {}
        with torch.enable_grad():
            result = self._of(recipe)
        leaves = {n: t for n, t in self.leaves.items() if t.requires_grad}
        if leaves and result.requires_grad:
            weights = torch.linspace(1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
            found = torch.autograd.grad(result, [*leaves.values()], weights, allow_unused=True)
            for name, grad in zip(leaves, found, strict=True):
                if grad is not None:
                    self.held[name] |= grad != 0
        return result.detach()

    def _of(self, recipe: Any) -> Tensor:
        kind, *args = recipe
        if kind not in KINDS:
            raise ValueError("a recipe of an unknown kind")
        return cast("Tensor", getattr(self, kind)(*args))

    def _optional(self, recipe: Any, default: float) -> Tensor:
        return torch.tensor(default, dtype=torch.float64) if recipe is None else self._of(recipe)

    def _numbers(self, at: int) -> Tensor:
        return torch.tensor(numbers(self.index[at]), dtype=torch.int64)

    def tensor(self, name: str) -> Tensor:
        """A checkpoint tensor, as a leaf."""
        if name not in self.leaves:
            value = cast_to(self.source[name].detach(), torch.float64)
            self.leaves[name] = value.requires_grad_(value.dtype.is_floating_point)
        return self.leaves[name]

    def node(self, name: str) -> Tensor:
        """A node of the gated graph that depends on constants alone."""
        return cast("Tensor", self._constant(self.nodes[name], {})[0])

    def _constant(self, node: fx.Node, known: dict[fx.Node, tuple[Any, bool]]) -> tuple[Any, bool]:
        """Its value, and whether a decision is in it: a gate within rounding of 0 and 1 is hard."""
        if node not in known:
            if node.op == "get_attr":
                name = str(node.target)
                taken = name not in self.source  # a decision taken in the own precision
                value = cast_to(self.program.constants[name], torch.float64)
                known[node] = (value if taken else self.tensor(name), taken)
            elif node.op != "call_function":
                raise ValueError(f"node '{node.name}' depends on the input")
            else:
                parts = {n: self._constant(n, known) for n in node.all_input_nodes}
                value = run(node, lambda n: parts[n][0])
                hard = (
                    any(h for _, h in parts.values()) or str(node.target).split(".")[1] in DECIDING
                )
                known[node] = (_snapped(value) if hard else value, hard)
        return known[node]

    def take(self, recipe: Any, index: Sequence[int | None]) -> Tensor:
        """Rows and columns."""
        value = self._of(recipe)
        if len(index) != value.ndim:
            raise ValueError(f"{len(index)} indices for {value.ndim} axes")
        for axis, at in enumerate(index):
            if at is not None:
                value = value.index_select(axis, self._numbers(at))
        return value

    def groups(self, recipe: Any, first: Sequence[int], second: Sequence[int]) -> Tensor:
        """Blocks of a grouped kernel."""
        value = self._of(recipe)
        pairs = zip(first, second, strict=True)
        return torch.cat([value[self._numbers(a)][:, self._numbers(b)] for a, b in pairs])

    def scale(self, kernel: Any, axis: int, groups: int, gamma: Any, var: Any, eps: Any) -> Tensor:
        """A kernel with the batch norm's factor in it."""
        weight = self._of(kernel)
        factor = self._optional(gamma, 1.0) / torch.sqrt(self._of(var) + eps)
        if groups > 1:  # a transposed kernel [in, out / groups, ...]
            rows = factor.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            return weight * rows.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        return weight * factor.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])

    def shift(self, bias: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float) -> Tensor:
        """The bias that a convolution and its batch norm have together."""
        factor = self._optional(gamma, 1.0) / torch.sqrt(self._of(var) + eps)
        centred = self._optional(bias, 0.0) - self._of(mean)
        return centred * factor + self._optional(beta, 0.0)

    def slope(self, name: str, axis: int, size: int, parts: Sequence[Any]) -> Tensor:
        """Coefficients of a sum, zero where no part names them."""
        result, node = torch.zeros(min(size, MAX_COUNT), dtype=torch.float64), self.nodes[name]
        for at, channels, sources, source, picks, equal in parts:
            out = self._numbers(channels)
            cut = [self.nodes[s] for s in sources]
            of = self._numbers(picks) if source else out
            total = self._slope(node, axis, cut, self.nodes.get(source), out, of)
            for twin, places, own in equal:
                i, c, other = self._numbers(places), self._numbers(own), self.nodes[twin]
                a, b = (self.stored[n].movedim(axis, 0) for n in (self.nodes[source], other))
                if not torch.allclose(a[of[i]], b[c], 1e-10, 1e-10):
                    raise ValueError(f"'{twin}' does not equal '{source}'")
                total.index_add_(0, i, self._slope(node, axis, cut, other, out[i], c))
            result[self._numbers(at)] = total
        return result

    def _slope(self, node: fx.Node, axis: int, cut: Any, by: Any, out: Any, of: Any) -> Tensor:
        """d node[out] / d by[of], or node[out] where the nodes of `cut` are zero."""
        between, stored = _between(node, set(cut)), self.stored
        if by is None:  # what constant channels add: it depends on the constants
            stored = {}
            self._watch({n for b in between for n in b.all_input_nodes}, stored, self._all())
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

    def prepare(self, recipes: Iterable[Any]) -> None:
        """Runs the gated graph once, keeping the values that coefficients are derived from."""
        wanted: set[fx.Node] = set()
        for _, name, *_, parts in (r for r in map(_inner, recipes) if r[0] == "slope"):
            for _, _, sources, *_ in parts:
                cut = {self.nodes[s] for s in sources if s in self.nodes}
                between = _between(self.nodes[name], cut) if name in self.nodes else []
                wanted |= cut.union(*(n.all_input_nodes for n in between))
        self._watch(wanted, self.stored)

    def _watch(self, wanted: set[fx.Node], into: dict[fx.Node, Any], leaves: Any = ()) -> None:
        constants = {**self.program.constants, **dict(leaves)}
        program = self.program.with_graph(self.program.graph, constants)

        def visit(node: fx.Node, value: Any) -> None:
            if node in wanted:
                into[node] = value

        with torch.set_grad_enabled(bool(leaves)):
            execute(program, self.inputs, dtype=torch.float64, visit=visit)

    def _all(self) -> dict[str, Tensor]:
        return {n: self.tensor(n) for n in self.source.keys() & self.program.constants.keys()}

    def known(self, name: str, axis: int, channels: int) -> Tensor:
        """Channels that hold one number whatever the input."""
        found: dict[fx.Node, Tensor] = {}
        self._watch({self.nodes[name]}, found, self._all())
        rows = found[self.nodes[name]].movedim(axis, 0)[self._numbers(channels)].flatten(1)
        if bool((rows.amax(1) - rows.amin(1) > 1e-9 * rows.abs().amax(1)).any()):
            raise ValueError(f"channels of '{name}' are called constant and vary")
        return rows[:, 0]

    def select(self, recipe: Any, axis: int, number: int) -> Tensor:
        """One entry of an axis."""
        return self._of(recipe).select(axis, number)

    def transposed(self, recipe: Any) -> Tensor:
        """A matrix, transposed."""
        return self._of(recipe).t()


KINDS = ("tensor", "node", "take", "select", "groups", "scale", "shift", "slope", "known",
         "transposed")  # fmt: skip


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


def _inner(recipe: Any) -> Any:
    return _inner(recipe[1]) if recipe[0] in ("take", "select", "transposed") else recipe


def _snapped(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        return value
    near = value.detach().round()
    close = (value.detach() - near).abs() <= 4 * torch.finfo(value.dtype).eps
    return near if bool((close & ((near == 0) | (near == 1))).all()) else value
