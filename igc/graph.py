"""The program that every pass reads and writes: a `torch.fx` graph over ATen ops, with its tensors.

Nodes are `placeholder` (one per input tensor), `get_attr` (a constant, by its name in
`Program.constants`), `call_function` (an ATen `OpOverload`, `aten.sym_size.int`, or `operator.*` on
sizes) and `output`. `node.meta["layer"]` names the user's module that the node came from.

The graph is never changed in place: a pass builds a new one (`Program.rebuild`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.errors import LintError
from igc.meta_calls import remembered
from igc.recipe import Recipe

SIZE_OPS: dict[Any, str] = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.floordiv: "floordiv",
    operator.mod: "mod",
    operator.neg: "neg",
}


@dataclass(frozen=True)
class InputSpec:
    """One input tensor: its name, its dims (a number, or the name of a dynamic size), its dtype."""

    name: str
    dims: tuple[int | str, ...]
    dtype: torch.dtype

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """The concrete shape for the given dynamic sizes."""
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.dims)


@dataclass(frozen=True)
class Program:
    """A captured network: graph, constants, inputs and the structure of its outputs.

    `sizes` maps each dynamic size to the value it had in the example inputs. `outputs` names the
    flattened outputs in order; `out_spec` is the pytree they are returned in. `gates` names, where
    the network is known to be gated by `igc.nn`, the constants that hold the gates:
    `gates[layer][task]` and `mixes[layer]`.
    `origins` tells for each constant from which checkpoint tensor it was sliced (see `Origin`).
    """

    graph: fx.Graph
    constants: dict[str, Tensor]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    out_spec: pytree.TreeSpec
    sizes: dict[str, int]
    dtype: torch.dtype
    gates: dict[str, dict[str, str]] = field(default_factory=dict)
    mixes: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)

    def with_graph(
        self,
        graph: fx.Graph,
        constants: dict[str, Tensor],
        origins: dict[str, Origin] | None = None,
    ) -> Program:
        """The same program around another graph; only the constants it names are kept."""
        used = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
        known = self.origins if origins is None else origins
        return replace(
            self,
            graph=graph,
            constants={k: v for k, v in constants.items() if k in used},
            origins={k: v for k, v in known.items() if k in used},
        )

    def constant(self, name: str) -> Tensor:
        """A constant as the program computes with it: in its `kind`."""
        return cast_to(self.constants[name], self.kind(name))

    def kind(self, name: str) -> torch.dtype:
        """The type that a constant counts as.

        Constants that the network's own precision would round are folded in float64, and rounded
        once: in `constant`, or when the static network is emitted. Others have the type that they
        are stored in. Either may not be the program's: tables in float32 in a bfloat16 network.
        """
        origin = self.origins.get(name)
        known = None if origin is None else origin.counts_as
        return self.constants[name].dtype if known is None else known

    @property
    def placeholders(self) -> list[fx.Node]:
        """The input nodes, in order."""
        return [n for n in self.graph.nodes if n.op == "placeholder"]

    @property
    def output_nodes(self) -> list[fx.Node]:
        """The nodes returned, flattened, in the order of `outputs`."""
        (out,) = (n for n in self.graph.nodes if n.op == "output")
        return list(args_of(out)[0])


@dataclass(frozen=True)
class Origin:
    """Where a constant came from: `source[index]` of the checkpoint, or computed from `parts`.

    `index` holds one index tuple per axis, `None` for "all of this axis"; `transform` is empty for
    moved rows and names the computation otherwise (for example "fold batch norm"). `recipe` is the
    computation itself (`igc.recipe`), None for what is made of nothing in the checkpoint.
    `counts_as` is the type that the network computes with where the constant is stored in a wider
    one (`Program.kind`). Both are known while compiling alone and are not saved.
    """

    source: str
    index: tuple[tuple[int, ...] | None, ...] = ()
    transform: str = ""
    parts: tuple[str, ...] = ()
    recipe: Recipe | None = field(default=None, compare=False, repr=False)
    counts_as: torch.dtype | None = None


def call_of(node: fx.Node) -> fx.Node:
    """The call that computes a value: for one output of several, the one with several."""
    source = node.args[0] if node.target is operator.getitem else node
    return source if isinstance(source, fx.Node) else node


def args_of(node: fx.Node) -> tuple[Any, ...]:
    """The node's arguments, which fx types too loosely to use."""
    return cast("tuple[Any, ...]", node.args)


def mapped(value: Any, look: Callable[[fx.Node], Any]) -> Any:
    """Arguments with every node in them replaced by `look(node)`."""
    return fx.map_arg(value, look)


def layer_of(node: fx.Node) -> str:
    """The user's name for the module a node came from, or the node's own name."""
    return str(node.meta.get("layer") or node.name)


def tensor_operands(node: fx.Node) -> Iterator[fx.Node]:
    """The node's operands in order, each once."""
    yield from node.all_input_nodes


def copy_node(graph: fx.Graph, node: fx.Node, env: Callable[[fx.Node], fx.Node | Any]) -> fx.Node:
    """`node` copied into `graph`, its operands looked up by `env`; meta is kept."""
    new = graph.create_node(
        node.op,
        node.target,
        mapped(node.args, env),
        mapped(node.kwargs, env),
        name=node.name,
    )
    new.meta = dict(node.meta)
    return new


def call_like(graph: fx.Graph, like: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A new call in `graph` that carries the layer of `like`."""
    node = graph.call_function(target, args, kwargs)
    node.meta = dict(like.meta)
    return node


def is_float(dtype: object) -> bool:
    """Whether `dtype` is a floating torch dtype."""
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point


def cast_to(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in `dtype` where it is a floating one; others stay."""
    if dtype is None or not tensor.dtype.is_floating_point or tensor.dtype == dtype:
        return tensor
    return tensor.to(dtype)


def execute(
    program: Program,
    inputs: Sequence[Tensor],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    visit: Callable[[fx.Node, Any], None] | None = None,
) -> list[Any]:
    """The flattened outputs of the program on `inputs`.

    `dtype` runs every floating tensor in that type: constants are cast one by one when they are
    read, so a float64 run needs no float64 copy of the network. `device="meta"` computes shapes
    only. `visit(node, value)` sees every value. Values are freed after their last use.
    """
    if len(inputs) != len(program.inputs):
        raise LintError(f"program takes {len(program.inputs)} inputs, got {len(inputs)}")
    dying = _last_reads(program)
    feed = iter(inputs)
    values: dict[fx.Node, Any] = {}
    result: list[Any] = []

    def look(operand: fx.Node) -> Any:
        if operand.op == "get_attr":
            return _fetch(program, str(operand.target), dtype, device)
        return values[operand]

    for node in program.graph.nodes:
        if node.op == "placeholder":
            value: Any = cast_to(next(feed), dtype)
        elif node.op == "get_attr":
            if visit is not None:
                visit(node, _fetch(program, str(node.target), dtype, device))
            continue  # fetched where it is read, so that one cast constant lives at a time
        elif node.op == "output":
            result = [look(n) if isinstance(n, fx.Node) else n for n in args_of(node)[0]]
            break
        else:
            value = _call(node, look, dtype, device)
        if visit is not None:
            visit(node, value)
        values[node] = value
        for operand in dying.get(node, ()):
            values.pop(operand, None)
    return result


def _last_reads(program: Program) -> dict[fx.Node, list[fx.Node]]:
    """For each node the operands that nothing reads after it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        for operand in node.all_input_nodes:
            last[operand] = node
    dying: dict[fx.Node, list[fx.Node]] = {}
    for operand, user in last.items():
        dying.setdefault(user, []).append(operand)
    return dying


def _call(
    node: fx.Node,
    look: Callable[[fx.Node], Any],
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Any:
    args, kwargs = mapped((node.args, node.kwargs), look)

    def run() -> Any:
        retype = dtype is not None or device is not None
        own, named = _retype((args, kwargs), dtype, device) if retype else (args, kwargs)
        return cast("Callable[..., Any]", node.target)(*own, **named)

    on_meta = device is not None and str(device) == "meta"
    return remembered((node.target, args, kwargs, dtype), run) if on_meta else run()


def _fetch(
    program: Program, name: str, dtype: torch.dtype | None, device: torch.device | str | None
) -> Tensor:
    if device is not None and str(device) == "meta":
        return _on_meta(program, name, dtype)
    return program.constant(name) if dtype is None else cast_to(program.constants[name], dtype)


def _on_meta(program: Program, name: str, dtype: torch.dtype | None) -> Tensor:
    value = program.constants[name]
    kept = cast_dtype(value.dtype, dtype or program.kind(name))
    return torch.empty_strided(value.shape, value.stride(), dtype=kept, device="meta")


def cast_dtype(dtype: torch.dtype, to: torch.dtype | None) -> torch.dtype:
    """`to` where `dtype` is floating and `to` is given, `dtype` otherwise."""
    return to if to is not None and dtype.is_floating_point else dtype


def retyped(args: Any, dtype: torch.dtype) -> Any:
    """Arguments with every floating dtype in them replaced."""
    return _retype(args, dtype, None)


def _retype(args: Any, dtype: torch.dtype | None, device: torch.device | str | None) -> Any:
    def one(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return cast_dtype(value, dtype)
        if isinstance(value, torch.device) and device is not None:
            return torch.device(device)
        return value

    return pytree.tree_map(one, args)
