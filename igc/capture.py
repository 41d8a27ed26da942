"""nn.Module -> Program, by `torch.export`; the only file that calls it."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from igc.analysis.shapes import other_sizes, shapes, single
from igc.devices import beside, on_cpu
from igc.errors import BadInput, IgcError
from igc.functional import functionalized
from igc.graph import SIZE_OPS, InputSpec, Program, args_of, mapped
from igc.normalize import ASSERTIONS, REWRITES, normalize
from igc.ops import TABLE
from igc.structure import without_none
from igc.symbols import bounded_symbols

Example = Tensor | Sequence[Tensor]

aten = torch.ops.aten
WRITTEN_OUT = (aten.einsum.default,)
# A view depends on strides, which slicing changes; a reshape does not.
AS_RESHAPE = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}


# Ops that need no decomposition: they have a rule, or a uniform spelling, or are read as opaque.
UNDERSTOOD = {
    **TABLE,
    **{str(op): None for op in (*REWRITES, *AS_RESHAPE)},
    **dict.fromkeys((*ASSERTIONS, "aten.sym_size.int")),
}


def as_inputs(example_inputs: Any) -> tuple[Tensor, ...]:
    """The example inputs as a tuple of tensors; raises `BadInput` for anything else."""
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(inputs, (tuple, list)) or not inputs:
        raise BadInput(
            "example_inputs: give one tensor or a tuple of tensors, "
            f"got {type(example_inputs).__name__}"
        )
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise BadInput(f"example_inputs[{i}]: expected a tensor, got {type(tensor).__name__}")
    return tuple(inputs)


def capture(module: nn.Module, example_inputs: Example) -> Program:
    """The program that `module` runs in evaluation mode on inputs like `example_inputs`.

    The batch (the first dim of every input) is dynamic where the network allows it, and so are
    the height and width of image-like inputs. Parameters are shared with the module, not copied
    (unless it is on another device: programs are on the CPU); the module itself is left as it
    was. Raises `BadInput` where torch cannot export the module.
    """
    inputs = beside(module, as_inputs(example_inputs))
    training = [m for m in module.modules() if m.training]
    try:
        module.eval()
        return on_cpu(_capture(module, inputs))
    finally:
        for m in training:
            m.training = True


def _run_once(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Say it in the user's words where the inputs do not fit the module."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
            module(*(mode.from_tensor(x) for x in inputs))
    except torch._subclasses.fake_tensor.DataDependentOutputException:
        return  # export says more about this one, with the line
    except Exception as error:
        shapes_ = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise BadInput(
            f"{type(module).__name__} does not accept inputs of shape {shapes_}: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _capture(module: nn.Module, inputs: tuple[Tensor, ...]) -> Program:
    wide = tuple(
        x.repeat(2, *[1] * (x.ndim - 1)) if x.ndim and x.shape[0] == 1 else x for x in inputs
    )
    last: Exception = BadInput("no attempt")
    first, *rest = _dynamic_attempts(wide)
    for axes in (first, *rest):
        try:
            return _checked(module, wide, axes)
        except IgcError:
            raise
        except Exception as error:  # torch.export raises many kinds; the last is reported
            if axes is first:
                _run_once(module, inputs)
            last = error
    raise BadInput(
        f"{type(module).__name__}: torch.export cannot capture it: {_line(last)}"
    ) from last


def _dynamic_attempts(inputs: tuple[Tensor, ...]) -> list[list[set[int]]]:
    """Which axes to try as dynamic, most ambitious first."""
    images = [({0, *range(2, x.ndim)} if x.ndim >= 4 else {0}) if x.ndim else set() for x in inputs]
    batch: list[set[int]] = [{0} if x.ndim else set() for x in inputs]
    none: list[set[int]] = [set() for _ in inputs]
    attempts = [images, batch, none]
    return [a for i, a in enumerate(attempts) if a not in attempts[:i]]


def _checked(module: nn.Module, inputs: tuple[Tensor, ...], axes: list[set[int]]) -> Program:
    """Exported, and shown to hold at other sizes; at another batch where the first misled torch."""
    program = _export(module, inputs, axes)
    try:
        _check_dynamic(program)
    except RuntimeError:
        inputs = tuple(x.repeat(7, *[1] * (x.ndim - 1)) if x.ndim else x for x in inputs)
        program = _export(module, inputs, axes)
        _check_dynamic(program)
    return program


def _check_dynamic(program: Program) -> None:
    """The graph must hold at other sizes too, or the sizes were not dynamic after all.

    Torch takes sizes that agree in the example for the same: half a height of 6 for a batch of 2.
    At a batch of one they differ, whatever the other sizes.
    """
    if program.sizes:
        shapes(program, other_sizes(program))
        shapes(program, single(program))


def _export(module: nn.Module, inputs: tuple[Tensor, ...], axes: list[set[int]]) -> Program:
    dynamic = tuple(dict.fromkeys(sorted(s), Dim.AUTO) for s in axes)
    args_name = _varargs(module)
    spec: Any = {args_name: dynamic} if args_name else dynamic
    with warnings.catch_warnings(), torch.no_grad(), bounded_symbols():
        warnings.simplefilter("ignore")
        exported = export(module, inputs, dynamic_shapes=spec, strict=False)
        graph = functionalized(exported.graph, UNDERSTOOD)
        if graph is None:
            exported = exported.run_decompositions(_decompositions())
            graph = exported.graph
    return _program(module, exported, graph, inputs)


def _varargs(module: nn.Module) -> str | None:
    """The name of forward's *args, where it takes its inputs that way."""
    import inspect

    for p in inspect.signature(module.forward).parameters.values():
        if p.kind is inspect.Parameter.VAR_POSITIONAL:
            return p.name
        return None
    return None


def _decompositions() -> dict[Any, Any]:
    """Ops that are written out into ones with rules; all others stay as the user called them."""
    table = torch.export.default_decompositions()
    return {op: table[op] for op in WRITTEN_OUT if op in table}


def _program(
    module: nn.Module, exported: ExportedProgram, source: fx.Graph, inputs: tuple[Tensor, ...]
) -> Program:
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
    feed = iter(inputs)
    for node in source.nodes:
        if node.op == "placeholder":
            spec = known[str(node.target)]  # a copied node may be renamed, its target is not
            if spec.kind is InputKind.USER_INPUT:
                example = next(feed)
                name = str(node.target)
                dims = _dims(node.meta["val"], example, sizes, names)
                specs.append(InputSpec(name, dims, example.dtype))
                env[node] = graph.create_node("placeholder", name, name=name)
            else:
                target = str(spec.target)
                constants[target] = _constant(exported, spec)
                env[node] = graph.create_node("get_attr", target, name=node.name)
                env[node].meta["layer"] = target.rpartition(".")[0]
        elif node.op == "output":
            leaves = args_of(node)[0]
            _check_outputs(module, leaves)
            graph.output([env[n] for n in leaves if n is not None])
        else:
            _check_target(node)
            new = graph.create_node(
                "call_function",
                AS_RESHAPE.get(node.target, node.target),
                mapped(node.args, env.__getitem__),
                mapped(node.kwargs, env.__getitem__),
                name=node.name,
            )
            new.meta["layer"] = _layer(node)
            env[node] = new
    out_spec = exported.call_spec.out_spec
    assert out_spec is not None
    gates, mixes = _gates(module, constants)
    program = Program(
        graph=graph,
        constants=constants,
        inputs=tuple(specs),
        outputs=_output_names(out_spec, leaves),
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
    return _tidy(normalize(program))


def _check_outputs(module: nn.Module, leaves: Sequence[Any]) -> None:
    """Every output has to be a tensor or None, and one of them a tensor."""
    for value in leaves:
        if value is not None and not isinstance(value, fx.Node):
            raise BadInput(
                f"an output is the constant {value!r}; outputs must be tensors (or None)"
            )
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


def _dims(
    fake: Any, example: Tensor, sizes: dict[str, int], names: dict[str, str]
) -> tuple[int | str, ...]:
    if not isinstance(fake, Tensor):
        raise BadInput("inputs must be tensors")
    dims: list[int | str] = []
    fakes: list[Any] = list(fake.shape)  # typed as int, but a dynamic one is a SymInt
    for size, concrete in zip(fakes, example.shape, strict=True):
        if not isinstance(size, torch.SymInt):
            dims.append(int(size))
            continue
        expression = str(size.node.expr)
        if not expression.isidentifier():
            raise ValueError(f"derived size {expression}")  # try again with fewer dynamic axes
        if expression not in names:
            names[expression] = _size_name(len(dims), len(fakes), set(names.values()))
        sizes[names[expression]] = int(concrete)
        dims.append(names[expression])
    return tuple(dims)


def _size_name(axis: int, rank: int, taken: set[str]) -> str:
    """A name for a dynamic size by where it is first seen: batch, height, width, else a number."""
    usual = "batch" if axis == 0 else {rank - 2: "height", rank - 1: "width"}.get(axis, "")
    if usual and usual not in taken and (axis == 0 or rank >= 4):
        return usual
    return f"size{len(taken)}"


def _check_target(node: fx.Node) -> None:
    target = node.target
    if target in SIZE_OPS:
        return
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return
    if target is operator.getitem:
        return
    raise BadInput(
        f"layer '{_layer(node)}' calls {target}, which has no ATen form; "
        "rewrite it with ordinary tensor operations"
    )


def _layer(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((p for p, _ in reversed(stack.values())), "")
    return path.replace("L['self'].", "").replace("L['self']", "")


def _output_names(spec: pytree.TreeSpec, leaves: Sequence[Any]) -> tuple[str, ...]:
    """Names of the leaves that are tensors, by their place in the structure."""
    numbers = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    names: list[str] = []
    for path, number in pytree.tree_flatten_with_path(numbers)[0]:
        if leaves[number] is None:
            continue
        parts = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
        names.append(
            ".".join(parts)
            if any(not p.isdigit() for p in parts)
            else "output" + "".join("_" + p for p in parts)
        )
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


def _tidy(program: Program) -> Program:
    program.graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    program.graph.lint()
    tidy = program.with_graph(program.graph, program.constants)
    used = {d for s in tidy.inputs for d in s.dims if isinstance(d, str)}
    return replace(tidy, sizes={k: v for k, v in tidy.sizes.items() if k in used})
