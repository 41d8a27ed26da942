"""Sizes at which a traced backbone is not what it was: its Python asked, and the example answered.

`if h % 2:` takes one side for good when it is traced. Where the other side makes a difference, the
gated network takes inputs of the example's size alone along that axis, and says which line asked.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from igc.nn.copies import copied
from igc.nn.graph_code import function_of
from igc.nn.trace import Traced

ROOM = 1e-4  # of the largest value: the same operations in the same order, on the same numbers


class SizeRefused(AssertionError):
    """An input of a size at which a gated network would not be its backbone."""


@dataclass(frozen=True)
class Demand:
    """The number of an input, an axis of it, the size it has to have there, and who says so.

    Or any size but 1, where nothing else made a difference: `several`.
    """

    input: int
    axis: int
    size: int
    several: bool
    line: str

    @property
    def what(self) -> str:
        """What is demanded, in words."""
        size = "more than 1" if self.several else str(self.size)
        return f"input {self.input} has to have {size} at axis {self.axis}"

    @property
    def why(self) -> str:
        """Who demands it, in words."""
        return f"the example of igc.gate decided {self.line}"


@fx.node.has_side_effect
def require_size(fits: bool, what: str, why: str) -> None:
    """Raises `SizeRefused` unless the size fits: a node of a gated network's graph."""
    if not fits:
        raise SizeRefused(f"{what}: {why}")


def demands(
    backbone: nn.Module, traced: Traced, example_inputs: Sequence[Any] | None
) -> tuple[Demand, ...]:
    """The axes along which `traced` is the backbone at the example's size only; most often none.

    Both are run in evaluation mode, on inputs that are longer or shorter along one axis. Sizes that
    the backbone itself refuses prove nothing.
    """
    if example_inputs is None or not traced.asked:
        return ()
    original, forward = copied(backbone).eval(), function_of(traced.graph)
    training = {m: m.training for m in traced.root.modules()}
    traced.root.eval()
    try:
        inputs = list(example_inputs)
        usual = _distance(original, forward, traced.root, inputs)
        if usual is None:
            return ()
        line = " and ".join(dict.fromkeys(traced.asked[:2]))
        found = []
        for number, x in enumerate(inputs):
            for axis in range(x.ndim) if isinstance(x, Tensor) else ():
                wrong = {
                    size
                    for size, other in _others(inputs, number, axis)
                    if (gap := _distance(original, forward, traced.root, other)) is not None
                    and not gap <= ROOM + 4 * usual
                }
                if wrong:
                    several = wrong == {1}
                    found.append(Demand(number, axis, x.shape[axis], several, line))
        return tuple(found)
    finally:
        for module, mode in training.items():
            module.training = mode


def demand(graph: fx.Graph, wanted: Sequence[Demand]) -> None:
    """Lets the graph raise for inputs of another size."""
    if not wanted:
        return
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    last = placeholders[-1]
    for each in wanted:
        with graph.inserting_after(last):
            shape = graph.call_function(getattr, (placeholders[each.input], "shape"))
        with graph.inserting_after(shape):
            size = graph.call_function(operator.getitem, (shape, each.axis))
        with graph.inserting_after(size):
            compare = (operator.ne, 1) if each.several else (operator.eq, each.size)
            fits = graph.call_function(compare[0], (size, compare[1]))
        with graph.inserting_after(fits):
            last = graph.call_function(require_size, (fits, each.what, each.why))


def _others(inputs: list[Any], number: int, axis: int) -> Iterator[tuple[int, list[Any]]]:
    """The inputs, one of them longer or shorter along one axis, and any that are tied to it."""
    size = inputs[number].shape[axis]
    for other in dict.fromkeys((*range(size + 1, size + 9), 2 * size, size // 2, 2, 1)):
        if other not in (0, size):
            yield (
                other,
                [
                    _resized(x, axis, other) if i == number or _tied(x, axis, size) else x
                    for i, x in enumerate(inputs)
                ],
            )


def _tied(x: Any, axis: int, size: int) -> bool:
    """Batches of several inputs are one."""
    return axis == 0 and isinstance(x, Tensor) and x.ndim > 0 and x.shape[0] == size


def _resized(x: Tensor, axis: int, size: int) -> Tensor:
    found = x.index_select(axis, torch.arange(size, device=x.device) % x.shape[axis])
    if not found.dtype.is_floating_point:
        return found
    generator = torch.Generator().manual_seed(size)
    noise = torch.rand(found.shape, generator=generator).to(found)
    return found * (0.5 + noise) + noise


def _distance(
    original: nn.Module, forward: Any, root: nn.Module, inputs: list[Any]
) -> float | None:
    """How far the two are apart, of the largest value; None where the backbone does not run."""
    try:
        with torch.no_grad():
            want = [v for v in pytree.tree_leaves(original(*inputs)) if isinstance(v, Tensor)]
    except Exception:  # the backbone raises what it likes
        return None
    try:
        with torch.no_grad():
            got = [v for v in pytree.tree_leaves(forward(root, *inputs)) if isinstance(v, Tensor)]
    except Exception:  # made for other sizes
        return float("inf")
    if [v.shape for v in want] != [v.shape for v in got]:
        return float("inf")
    gaps = [
        float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp_min(1e-30))
        for a, b in zip(want, got, strict=True)
        if a.numel() and not a.is_complex()
    ]
    return max(gaps, default=0.0)
