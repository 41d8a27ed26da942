"""Where two programs part: the first layer whose values differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from igc.program import Program
from igc.program.execute import execute
from igc.program.nodes import layer_of
from igc.program.shapes import shapes

BUDGET = 256 * 2**20  # bytes of reference values held at a time
TOLERANCE = 1e-9
ROUNDED = (1e-4, 1e-6)  # tried first where constants were rounded: rounding differs everywhere


def first_difference(
    reference: Program, candidate: Program, inputs: Sequence[Tensor], *, rounded: bool = False
) -> str | None:
    """The first layer of `candidate` whose value is not that of `reference`, with the figure.

    Both run in float64. A node of the candidate is compared with the reference's node that
    `meta["source"]` names, cut to `meta["kept"]` (axis -> kept indices); nodes without a source
    are left out. Values are compared in portions, so that few of them are in memory at once.
    Returns None where no node differs, or none can be compared.
    """
    if not same_inputs(reference, candidate):
        return None
    pairs = comparable(reference, candidate)
    for tolerance in (*(ROUNDED if rounded else ()), TOLERANCE):
        for portion in _portions(reference, pairs, inputs):
            wanted = {pair[0].name: pair for pair in portion}
            found = _compare(reference, candidate, inputs, wanted, tolerance)
            if found:
                return found
    return None


def same_inputs(reference: Program, candidate: Program) -> bool:
    """Whether both take as many inputs."""
    return len(reference.inputs) == len(candidate.inputs)


def comparable(reference: Program, candidate: Program) -> list[tuple[fx.Node, str]]:
    """Each node of the candidate with the name of the reference's node it stands for.

    Two captures of the same code carry no sources: there, nodes of one name and op correspond.
    """
    known = {n.name: n.target for n in reference.graph.nodes if n.op == "call_function"}
    nodes = [n for n in candidate.graph.nodes if n.op == "call_function"]
    first: dict[str, fx.Node] = {}
    for node in nodes:  # later nodes of one source only move its channels about
        source = node.meta.get("source")
        if source in known:
            first.setdefault(str(source), node)
    if first:
        return [(node, source) for source, node in first.items()]
    return [(n, n.name) for n in nodes if known.get(n.name) == n.target]


def _portions(
    reference: Program, pairs: list[tuple[fx.Node, str]], inputs: Sequence[Tensor]
) -> Iterator[list[tuple[fx.Node, str]]]:
    facts = shapes(reference, _sizes(reference, inputs))
    size = {n.name: 8 * prod(v.shape or ()) for n, v in facts.items()}
    portion: list[tuple[fx.Node, str]] = []
    held = 0
    for pair in pairs:
        held += size.get(pair[1], 0)
        if portion and held > BUDGET:
            yield portion
            portion, held = [], size.get(pair[1], 0)
        portion.append(pair)
    if portion:
        yield portion


def _sizes(program: Program, inputs: Sequence[Tensor]) -> dict[str, int]:
    found = dict(program.sizes)
    for spec, tensor in zip(program.inputs, inputs, strict=True):
        for dim, size in zip(spec.dims, tensor.shape, strict=True):
            if isinstance(dim, str):
                found[dim] = int(size)
    return found


def _compare(
    reference: Program,
    candidate: Program,
    inputs: Sequence[Tensor],
    wanted: Mapping[str, tuple[fx.Node, str]],
    tolerance: float,
) -> str | None:
    sources = {source for _, source in wanted.values()}
    values: dict[str, Tensor] = {}

    def keep(node: fx.Node, value: Any) -> None:
        if node.name in sources and isinstance(value, Tensor):
            values[node.name] = value

    found: list[str] = []

    def look(node: fx.Node, value: Any) -> None:
        pair = wanted.get(node.name)
        if found or pair is None or pair[1] not in values or not isinstance(value, Tensor):
            return
        text = difference(cut(values[pair[1]], node.meta.get("kept")), value, tolerance)
        if text:
            found.append(f"{layer_of(node)} (node {node.name}: {text})")

    with torch.no_grad():
        execute(reference, inputs, dtype=torch.float64, visit=keep)
        execute(candidate, inputs, dtype=torch.float64, visit=look)
    return found[0] if found else None


def cut(value: Tensor, kept: Mapping[int, Sequence[int]] | None) -> Tensor:
    """The value with only the kept indices of each named axis."""
    for axis, index in (kept or {}).items():
        value = value.index_select(int(axis), torch.as_tensor(list(index)))
    return value


def difference(a: Tensor, b: Tensor, tolerance: float) -> str:
    """Empty where the two agree or have other shapes, or else how they differ."""
    if a.shape != b.shape or a.numel() == 0:
        return ""
    x, y = a.double(), b.double()
    gap = (x - y).abs()
    gap[x == y] = 0.0
    gap[x.isnan() & y.isnan()] = 0.0
    if not bool(gap.isfinite().all()):
        return "NaN or infinity in one of the two only"
    scale = float(x[x.isfinite()].abs().max()) if bool(x.isfinite().any()) else 0.0
    largest = float(gap.max())
    return f"max abs {largest:.2e}, scale {scale:.2e}" if largest > tolerance * scale else ""
