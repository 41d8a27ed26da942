"""Where the gates go: the features of a traced backbone that `at=` selects."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from igc.errors import BadInput
from igc.nn.channels import layout
from igc.nn.dependents import from_input, per_branch, upstream
from igc.nn.examples import VALUE
from igc.nn.layer_kinds import is_activation, is_add, is_norm, is_shape, is_weighted
from igc.nn.named import unique
from igc.nn.trace import PATH, Traced

Predicate = Callable[[str, nn.Module], bool]
At = str | Sequence[str] | Predicate


@dataclass(frozen=True)
class Point:
    """One gated layer: the feature `node` of the backbone, its channels and their axis."""

    layer: str
    node: fx.Node
    channels: int
    axis: int


Candidate = tuple[str, fx.Node]  # a layer's name and the feature to gate


def find_points(traced: Traced, at: At) -> list[Point]:
    """Returns the gate points in the order of the graph, their layer names all different.

    "block": what each residual addition gives, after the activation that follows it, if any.
        An addition counts when both sides come from the input and neither is a size; of a chain
        of additions, the last. Modules of the same class as such a block but without a skip
        (those that change the resolution) are blocks too. A backbone without any residual
        addition is gated after each of its top-level modules that holds further modules.
    "layer": what each convolution or linear layer gives, after the norm and the activation that
        directly follow it, if any, where it depends on the input. A unit never reaches across an
        addition: the last convolution of a residual block is gated after its norm, before the
        skip is added.
    list of module names: what those modules return; each tensor of a list, tuple or dict.
    predicate: the same for every called module with `predicate(name, module)` true.

    Raises BadInput, naming the layer, when `at` selects nothing, a name is unknown or never
    called, the feature does not depend on the input and a weight, or its channels are unknown.
    """
    if callable(at):
        found = _by_predicate(traced, at)
    elif at == "block":
        found = _blocks(traced)
    elif at == "layer":
        found = _units(traced)
    elif isinstance(at, str) or not isinstance(at, Sequence):
        raise BadInput(f'at={at!r}: give "block", "layer", a list of module names or a predicate')
    else:
        found = _by_name(traced, at)
        _check_read(traced, found)
    points = _described(traced, found)
    if not points:
        raise BadInput("no feature to gate was found: give at= a list of module names")
    return points


def _units(traced: Traced) -> list[Candidate]:
    units = []
    fed = from_input(traced.graph)  # a position bias computed from constants is no feature
    for node in traced.graph.nodes:
        if is_weighted(traced.root, node) and node in fed:
            end = _follow(node, lambda n: is_norm(traced.root, n))
            end = _follow(end, lambda n: is_activation(traced.root, n))
            units.append((_name(node), end))
    return units


def _follow(node: fx.Node, wanted: Callable[[fx.Node], bool]) -> fx.Node:
    """Returns the only reader of `node` if it is `wanted` and reads it first, else `node`."""
    readers = list(node.users)
    if len(readers) == 1 and readers[0].args[:1] == (node,) and wanted(readers[0]):
        return readers[0]
    return node


def _blocks(traced: Traced) -> list[Candidate]:
    ends = [
        (node.meta[PATH], _follow(node, lambda n: is_activation(traced.root, n)))
        for node in _residual_additions(traced)
    ]
    found = [(path or end.name, end) for path, end in ends]
    with_skip = {path for path, _ in ends}
    kinds = {
        type(traced.module(path))
        for path, end in ends
        if path and end in _features(traced.calls[path])
    }
    for path, results in traced.calls.items():
        same_kind = type(traced.module(path)) in kinds and path not in with_skip
        if same_kind or (not ends and _is_top_level_block(traced, path)):
            found += [(path, node) for node in _features(results)]
    if not found:
        raise BadInput(
            'at="block" found no residual addition and no block of modules in the backbone: '
            'use at="layer" or a list of module names'
        )
    return found


def _is_top_level_block(traced: Traced, path: str) -> bool:
    return "." not in path and bool(path) and any(traced.module(path).children())


def _residual_additions(traced: Traced) -> list[fx.Node]:
    fed = from_input(traced.graph)

    def is_residual(node: fx.Node) -> bool:
        sides = [n for n in node.args if isinstance(n, fx.Node) and n in fed]
        return is_add(node) and len(sides) == 2 and not any(is_shape(n) for n in sides)

    additions = [node for node in traced.graph.nodes if is_residual(node)]
    return [n for n in additions if not (len(n.users) == 1 and next(iter(n.users)) in additions)]


def _by_predicate(traced: Traced, predicate: Predicate) -> list[Candidate]:
    return [
        (path, node)
        for path, results in traced.calls.items()
        if predicate(path, traced.module(path))
        for node in _features(results)
    ]


def _by_name(traced: Traced, names: Sequence[str]) -> list[Candidate]:
    modules = dict(traced.root.named_modules())
    found: list[Candidate] = []
    for name in names:
        if name not in modules:
            close = difflib.get_close_matches(name, modules, n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise BadInput(f"at= names '{name}', which is no module of the backbone{hint}")
        if not _features(traced.calls.get(name, [])):
            raise BadInput(
                f"at= names '{name}', but the backbone's forward never calls it, or it sits "
                "inside a module of torch.nn that is kept whole: name a module that is called"
            )
        found += [(name, node) for node in _features(traced.calls[name])]
    return found


def _features(returned: Any) -> list[fx.Node]:
    """Returns the features in what a module returned, in lists, tuples and dicts too."""
    if isinstance(returned, fx.Proxy):
        return _parts(returned.node)
    if isinstance(returned, Mapping):
        returned = list(returned.values())
    if isinstance(returned, list | tuple):
        return [node for item in returned for node in _features(item)]
    return []


def _parts(node: fx.Node) -> list[fx.Node]:
    """A leaf that returns several values (attention with its weights): the first one read."""
    readers = list(node.users)
    if node.op == "call_module" and readers and all(_is_item(n) for n in readers):
        return [n for n in readers if n.args[1] == 0]
    return [node]


def _is_item(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem" and isinstance(node.args[1], int)


def _check_read(traced: Traced, found: list[Candidate]) -> None:
    read = upstream(traced.graph)
    for name, node in found:
        if node not in read:
            raise BadInput(f"layer '{name}' does not reach the backbone's output: drop it from at=")


def _described(traced: Traced, found: list[Candidate]) -> list[Point]:
    """Drops what is unread or found twice, finds the channels, makes the names unique."""
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    read = upstream(traced.graph)
    gateable = from_input(traced.graph) & per_branch(traced.graph)
    points: dict[fx.Node, Point] = {}
    used: set[str] = set()
    for name, node in sorted(found, key=lambda candidate: order[candidate[1]]):
        if node in points or node not in read:
            continue
        if node not in gateable:
            raise BadInput(f"layer '{name}' has no feature that depends on the input and a weight")
        shape = layout(traced, node)
        if shape is None or not isinstance(node.meta.get(VALUE, _TENSOR), Tensor):
            raise BadInput(
                f"the channels of layer '{name}' are unknown: pass example_inputs= to igc.gate, "
                "or gate another module instead"
            )
        layer = unique(name, used)
        used.add(layer)
        points[node] = Point(layer, node, *shape)
    return list(points.values())


_TENSOR = Tensor()


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.meta[PATH] or node.name
