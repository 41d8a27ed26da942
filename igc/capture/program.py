"""ExportedProgram -> Program: igc's own graph, with the user's names and without torch's guards."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from igc.capture.layout import layer_of_export
from igc.capture.normalize import SPELLED, normalize
from igc.capture.strided import without_steps
from igc.capture.symbols import dims_of
from igc.errors import BadInput
from igc.program import InputSpec, Program
from igc.program.nodes import SIZE_OPS, args_of, mapped
from igc.program.returned import output_name
from igc.program.shapes import with_odd_sizes
from igc.program.structure import without_none


def program_of(
    module: nn.Module, exported: ExportedProgram, source: fx.Graph, inputs: tuple[Tensor, ...]
) -> Program:
    """The program of a graph that `torch.export` made of `module`.

    `source` is the graph of `exported`, perhaps rewritten; `inputs` are what it was exported with:
    they give the types of the inputs, and the sizes that the dynamic ones have in the example.
    Raises `BadInput` for what no program can say: outputs that are not tensors, operations outside
    ATen, forwards that change buffers.
    """
    signature = exported.graph_signature
    for out in signature.output_specs:
        if out.kind is not OutputKind.USER_OUTPUT:
            raise BadInput(
                f"{type(module).__name__} changes '{out.target}' in its forward; "
                "make the evaluation-mode forward free of side effects"
            )
    graph = fx.Graph()
    env: dict[fx.Node, Any] = {}
    constants: dict[str, Tensor] = {}
    specs: list[InputSpec] = []
    sizes: dict[str, int] = {}
    names: dict[str, str] = {}
    leaves: Sequence[Any] = ()
    known = {s.arg.name: s for s in signature.input_specs}
    out_spec = exported.call_spec.out_spec
    assert out_spec is not None
    feed = iter(inputs)
    for node in without_steps(source).nodes:
        if node.op == "placeholder":
            spec = known[str(node.target)]  # a copied node may be renamed, its target is not
            if spec.kind is InputKind.USER_INPUT:
                example = next(feed)
                name = str(node.target)
                dims = dims_of(node.meta["val"], example, sizes, names)
                specs.append(InputSpec(name, dims, example.dtype))
                env[node] = graph.create_node("placeholder", name, name=name)
            else:
                target = str(spec.target)
                constants[target] = _constant(exported, spec)
                env[node] = graph.create_node("get_attr", target, name=node.name)
                env[node].meta["layer"] = target.rpartition(".")[0]
        elif node.op == "output":
            leaves = args_of(node)[0]
            _check_outputs(module, _output_names(out_spec), leaves)
            graph.output([env[n] for n in leaves if n is not None])
        else:
            _check_target(node)
            new = graph.create_node(
                "call_function",
                SPELLED.get(node.target, node.target),
                mapped(node.args, env.__getitem__),
                mapped(node.kwargs, env.__getitem__),
                name=node.name,
            )
            new.meta["layer"] = layer_of_export(node)
            env[node] = new
    gates, mixes = _gates(module, constants)
    program = Program(
        graph=graph,
        constants=constants,
        inputs=tuple(specs),
        outputs=tuple(
            name
            for name, leaf in zip(_output_names(out_spec), leaves, strict=True)
            if leaf is not None
        ),
        out_spec=without_none(out_spec, leaves),
        sizes=sizes,
        dtype=_float_dtype(constants, inputs),
        gates=gates,
        mixes=mixes,
        note={
            "buffers": tuple(
                str(s.target)
                for s in signature.input_specs
                if s.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
            )
        },
    )
    return normalize(with_odd_sizes(program))


def _check_outputs(module: nn.Module, names: Sequence[str], leaves: Sequence[Any]) -> None:
    """Every output has to be a tensor or None, and one of them a tensor."""
    for name, value in zip(names, leaves, strict=True):
        node = value if isinstance(value, fx.Node) else None
        size = node is not None and isinstance(node.meta.get("val"), torch.types.py_sym_types)
        if value is not None and (node is None or size):
            shown = "a size of the inputs" if isinstance(value, fx.Node) else f"{value!r}"
            raise BadInput(f"output '{name}' is {shown}; return it as a tensor, or not at all")
    if all(value is None for value in leaves):
        raise BadInput(
            f"{type(module).__name__} returns no tensor; return at least one in evaluation mode"
        )


def _constant(exported: ExportedProgram, spec: Any) -> Tensor:
    target = str(spec.target)
    source = exported.state_dict if target in exported.state_dict else exported.constants
    value = source[target]
    if not isinstance(value, Tensor):
        raise BadInput(
            f"'{target}' is a {type(value).__name__}, not a tensor; igc cannot compile it"
        )
    return value.detach()


def _check_target(node: fx.Node) -> None:
    target = node.target
    if target in SIZE_OPS:
        return
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return
    if target is operator.getitem:
        return
    if isinstance(node.meta.get("val"), torch.types.py_sym_types):
        # try again with fewer dynamic axes
        raise ValueError(f"a size is computed by {_name(target)} at {_line(node)}")
    raise BadInput(
        f"layer '{layer_of_export(node)}' calls {target}, which has no ATen form; "
        "rewrite it with ordinary tensor operations"
    )


def _name(target: Any) -> str:
    return str(getattr(target, "__name__", target))


def _line(node: fx.Node) -> str:
    """The user's line that a node comes from, as `net.py:31 'x = round(h / 2)'`."""
    frames = re.findall(
        r'File "(.*)", line (\d+), in .*\n *(.*)', node.meta.get("stack_trace") or ""
    )
    if not frames:
        return f"layer '{layer_of_export(node)}'"
    file, number, text = frames[-1]
    return f"{Path(file).name}:{number} '{text[:60]}'"


def _output_names(spec: pytree.TreeSpec) -> tuple[str, ...]:
    """Names of the leaves by their place in the structure, no two the same."""
    numbers = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths = (path for path, _ in pytree.tree_flatten_with_path(numbers)[0])
    wanted = [
        output_name([getattr(k, "key", getattr(k, "idx", getattr(k, "name", k))) for k in path])
        for path in paths
    ]
    names: list[str] = []
    for name in wanted:
        fresh, number = name, 1
        while fresh in names or (number > 1 and fresh in wanted):
            number += 1
            fresh = f"{name}_{number}"
        names.append(fresh)
    return tuple(names)


def _float_dtype(constants: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> torch.dtype:
    count: dict[torch.dtype, int] = {}
    for t in (*constants.values(), *inputs):
        if t.dtype.is_floating_point:
            count[t.dtype] = count.get(t.dtype, 0) + t.numel()
    return max(count, key=count.__getitem__) if count else torch.get_default_dtype()


def _gates(
    module: nn.Module, constants: dict[str, Tensor]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Names of the gates and mixes, where the module says which they are (`igc.nn` does)."""
    names = {id(p): n for n, p in module.named_parameters() if n in constants}
    found: dict[str, dict[str, str]] = {}
    for layer, by_task in _items(getattr(module, "gates", None)):
        named = {t: names.get(id(getattr(g, "alpha", None)), "") for t, g in _items(by_task)}
        if all(named.values()):
            found[layer] = named
    mixed = {
        layer: names[id(mix.beta)]
        for layer, mix in _items(getattr(module, "mixes", None))
        if id(getattr(mix, "beta", None)) in names
    }
    return found, mixed


def _items(mapping: object) -> list[tuple[str, Any]]:
    """Name and value of anything that behaves like a mapping; nothing for anything else."""
    items = getattr(mapping, "items", None)
    return [(str(k), v) for k, v in items()] if callable(items) else []
