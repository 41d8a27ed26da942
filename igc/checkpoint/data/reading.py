"""Plain data -> Program; the data may be hostile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from igc.checkpoint.data.fields import integer, items, name, record, table, text
from igc.checkpoint.data.guard import check_call, check_other_sizes, check_runs, with_device
from igc.checkpoint.data.values import DTYPES, decode, decode_structure, read_dtype
from igc.errors import BadCheckpoint, show
from igc.ops.allowed import lookup
from igc.program import InputSpec, Origin, Program
from igc.program.shapes import with_odd_sizes

MAX_NODES = 20_000  # compiling takes some milliseconds for each
MAX_OUTPUTS = 256  # a report tells of every set of outputs
MAX_INPUTS = 1024
MAX_SIZE = 1 << 31
MAX_OPERANDS = 4096  # in the lists of one call

FIELDS = (
    "dtype", "sizes", "inputs", "outputs", "structure", "gates", "mixes", "origins", "note",
    "nodes",
)  # fmt: skip


def from_data(data: Any, tensors: Mapping[str, Tensor]) -> Program:
    """The program that `to_data` wrote, around these tensors.

    Everything is checked before anything is run: field names, name clashes, references (only
    backwards, so there is no cycle), operations against the table, sizes and depths against
    limits. Then the shapes of all values are computed without memory. Raises `BadCheckpoint`
    with one line that says where the data is wrong.
    """
    record(data, "the program", FIELDS)
    dtype = read_dtype(data["dtype"], "the program")
    if not dtype.is_floating_point:
        raise BadCheckpoint(f"the program's dtype is {dtype}, expected a floating one")
    sizes = {
        name(k, "a size"): integer(v, f"size '{k}'", 1, MAX_SIZE)
        for k, v in table(data["sizes"], "the sizes").items()
    }
    inputs = tuple(_input(d, sizes) for d in items(data["inputs"], "the inputs", MAX_INPUTS))
    graph, constants = _graph(data["nodes"], tensors)
    program = Program(
        graph=graph,
        constants=constants,
        inputs=inputs,
        outputs=tuple(
            text(o, "the outputs") for o in items(data["outputs"], "the outputs", MAX_OUTPUTS)
        ),
        out_spec=decode_structure(data["structure"], "the output structure"),
        sizes=sizes,
        dtype=dtype,
        gates={
            layer: _names(by_task, f"the gates of layer '{layer}'", constants)
            for layer, by_task in table(data["gates"], "the gates").items()
        },
        mixes=_names(data["mixes"], "the mixes", constants),
        origins={
            k: _origin(v, f"the origin of '{k}'")
            for k, v in table(data["origins"], "the origins").items()
        },
        note=_note(data["note"]),
    )
    _check_counts(program)
    check_runs(program)
    program = with_odd_sizes(program)
    check_other_sizes(program)
    return program


def _input(data: Any, sizes: Mapping[str, int]) -> InputSpec:
    record(data, "an input", ("name", "dims", "dtype"))
    called = name(data["name"], "an input")
    where = f"input '{called}'"
    dims: list[int | str] = []
    for dim in items(data["dims"], where, 32):
        if isinstance(dim, str):
            if dim not in sizes:
                raise BadCheckpoint(f"{where} has an unknown size {show(dim)}")
            dims.append(dim)
        else:
            dims.append(integer(dim, where, 0, MAX_SIZE))
    return InputSpec(called, tuple(dims), read_dtype(data["dtype"], where))


def _graph(data: Any, tensors: Mapping[str, Tensor]) -> tuple[fx.Graph, dict[str, Tensor]]:
    graph = fx.Graph()
    env: dict[str, fx.Node] = {}
    constants: dict[str, Tensor] = {}
    entries = items(data, "the graph", MAX_NODES)
    for position, entry in enumerate(entries):
        record(entry, f"node {position}", ("name", "op"), ("target", "args", "kwargs", "layer"))
        called = name(entry["name"], f"node {position}")
        where = f"node '{called}'"
        if called in env:
            raise BadCheckpoint(f"two nodes are called '{called}'")
        if (entry["op"] == "output") != (position == len(entries) - 1):
            raise BadCheckpoint("the graph has no output, or one that is not its last node")
        node = _node(graph, entry, env, where)
        if node.name != called:
            raise BadCheckpoint(f"{where} has a name that is reserved")
        if node.op == "get_attr":
            constants[str(node.target)] = _constant(str(node.target), tensors, where)
        if "layer" in entry:
            node.meta["layer"] = text(entry["layer"], where)
        env[called] = node
    if not entries:
        raise BadCheckpoint("the graph is empty")
    return graph, constants


def _node(graph: fx.Graph, entry: dict[str, Any], env: dict[str, fx.Node], where: str) -> fx.Node:
    called, op = entry["name"], entry["op"]
    if op == "placeholder":
        record(entry, where, ("name", "op"), ("layer",))
        return graph.create_node("placeholder", called, name=called)
    if op == "get_attr":
        record(entry, where, ("name", "op", "target"), ("layer",))
        return graph.create_node("get_attr", text(entry["target"], where), name=called)
    if op == "output":
        record(entry, where, ("name", "op", "args"), ("layer",))
        results = decode(items(entry["args"], where), env, where)
        if not results or not all(isinstance(r, fx.Node) for r in results):
            raise BadCheckpoint(f"{where} returns something else than nodes")
        return graph.create_node("output", "output", (results,), name=called)
    if op != "call_function":
        raise BadCheckpoint(f"{where} is of an unknown kind, {show(op)}")
    record(entry, where, ("name", "op", "target", "args"), ("kwargs", "layer"))
    try:
        target = lookup(text(entry["target"], where))
        args = tuple(decode(a, env, "an argument") for a in items(entry["args"], "the call"))
        kwargs = {
            k: decode(v, env, f"argument '{k}'")
            for k, v in table(entry.get("kwargs", {}), "the call").items()
        }
        check_call(target, args, kwargs)
        kwargs = with_device(target, args, kwargs)
        read = sum(len(a) for a in args if isinstance(a, list))
        if read > MAX_OPERANDS:
            raise BadCheckpoint(f"has a list of {read} values, more than {MAX_OPERANDS}")
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{where}: {error}") from None
    return graph.create_node("call_function", target, args, kwargs, name=called)


def _constant(key: str, tensors: Mapping[str, Tensor], where: str) -> Tensor:
    found = tensors.get(key)
    if found is None:
        raise BadCheckpoint(f"{where} reads the tensor {show(key)}, which the file lacks")
    if found.dtype not in DTYPES.values() or found.layout is not torch.strided:
        raise BadCheckpoint(f"the tensor {show(key)} is of an unsupported kind, {found.dtype}")
    return found


def _names(data: Any, where: str, constants: Mapping[str, Tensor]) -> dict[str, str]:
    for key, value in table(data, where).items():
        if not isinstance(value, str) or value not in constants:
            raise BadCheckpoint(
                f"{where} name {show(value)} for {show(key)}, which the graph does not read"
            )
    return dict(data)


def _origin(data: Any, where: str) -> Origin:
    record(data, where, ("source", "index", "transform", "parts"))
    index: list[tuple[int, ...] | None] = []
    for axis in items(data["index"], where, 32):
        if axis is None:
            index.append(None)
            continue
        index.append(tuple(integer(i, where, 0, MAX_SIZE) for i in items(axis, where)))
    return Origin(
        source=text(data["source"], where),
        index=tuple(index),
        transform=text(data["transform"], where),
        parts=tuple(text(p, where) for p in items(data["parts"], where)),
    )


def _note(data: Any) -> dict[str, Any]:
    note: dict[str, Any] = {}
    for key, value in table(data, "the note").items():
        if not isinstance(value, (str, int)):
            raise BadCheckpoint(f"the note holds {show(value)} for {show(key)}")
        note[key] = text(value, "the note") if isinstance(value, str) else value
    return note


def _check_counts(program: Program) -> None:
    given, taken = len(program.inputs), len(program.placeholders)
    if given != taken:
        raise BadCheckpoint(f"the program declares {given} inputs, its graph takes {taken}")
    returned = len(program.output_nodes)
    if not returned == len(program.outputs) == program.out_spec.num_leaves:
        raise BadCheckpoint(
            f"the graph returns {returned} tensors, {len(program.outputs)} are named and "
            f"{program.out_spec.num_leaves} have a place in the output structure"
        )
