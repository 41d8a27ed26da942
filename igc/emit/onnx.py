"""A static network as an ONNX file: the only file of `igc.emit` that knows the onnx package.

Nodes are written directly (`igc.emit.lower`), which is many times faster than
`torch.onnx.export` and leaves names and bytes under igc's control. A network with an op that has
no direct form goes through `torch.onnx.export`, and the file says so.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor

from igc.emit.agree import Sample, require_agreement, samples
from igc.emit.by_torch import export_by_torch, quiet
from igc.emit.lower import OnnxNode, Unsupported, lower
from igc.emit.lower.graph import OnnxGraph, raw_bytes
from igc.emit.sizes import named_dims
from igc.emit.static import StaticNetwork
from igc.errors import BadInput, CheckFailed, LintError
from igc.files import atomic_write, check_writable
from igc.graph import Program
from igc.version import __version__

OPSET = 20
IR_VERSION = 9  # the one that came with opset 20
LIMIT = 2**31 - 2**20  # protobuf holds less than 2 GiB in one message
SIMPLIFY_LIMIT = 2**29  # onnxsim holds several copies of a model

TYPES = {
    torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16, torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64, torch.int32: TensorProto.INT32,
    torch.int16: TensorProto.INT16, torch.int8: TensorProto.INT8,
    torch.uint8: TensorProto.UINT8, torch.bool: TensorProto.BOOL,
}  # fmt: skip

Verification = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class OnnxInfo:
    """What was written. `route` is "direct" or "torch.onnx.export" (then `reason` says why).

    `simplified` tells whether onnxsim's version was kept. Sizes are in bytes.
    """

    path: str
    nodes: int
    size: int
    initialiser_size: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    simplified: bool
    route: str
    reason: str


def export_onnx(
    static: StaticNetwork,
    path: str | os.PathLike[str],
    *,
    simplify: bool = True,
    verification: Verification | None = None,
) -> OnnxInfo:
    """Writes `static` to `path` as ONNX (opset 20) and returns what was written.

    The batch, and height and width where the network takes any, stay dynamic. Outputs carry the
    names `static.outputs`, in that order, and each is compared by value with the static network
    before anything is written; the file passes the full checker and strict shape inference.
    `verification` is stored in the file's metadata: a mapping, or a function of the (temporary)
    file that returns one and may raise to prevent writing. The same network and igc version give
    the same bytes.

    Raises `BadInput` (unwritable path, no ONNX form, 2 GiB or more) and `CheckFailed`.
    """
    check_writable(path)
    program = static.to_program()
    _check_size(program)
    names = _input_names(program)
    route, reason = "direct", ""
    try:
        model = _direct(program, names)
    except Unsupported as unsupported:
        route, reason = "torch.onnx.export", str(unsupported)
        model = export_by_torch(static, program, names, reason, OPSET)
    chosen = samples(program)
    data = _checked(model, program, names, chosen)
    simpler = _simplified(model, program, names, chosen) if simplify else None
    kept, data = simpler or (model, data)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
        result = verification(temporary) if callable(verification) else verification
        if result is not None:
            _dress(kept, program, names, {"igc.verification": _json(result)})
            data = _bytes(kept)
            temporary.write_bytes(data)
    return OnnxInfo(
        path=str(path),
        nodes=len(kept.graph.node),
        size=len(data),
        initialiser_size=_weight(kept),
        inputs=names,
        outputs=program.outputs,
        simplified=simpler is not None,
        route=route,
        reason=reason,
    )


def record_verification(path: str | os.PathLike[str], result: Mapping[str, Any]) -> None:
    """Stores the result of a verification in the metadata of the ONNX file at `path`."""
    model = onnx.load(str(path))
    meta = {p.key: p.value for p in model.metadata_props}
    _write_metadata(model, meta | {"igc.verification": _json(result)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _check_size(program: Program) -> None:
    total = sum(t.numel() * t.element_size() for t in program.constants.values())
    if total > LIMIT:
        raise BadInput(
            f"the network holds {total / 2**30:.1f} GiB of parameters, an ONNX file holds less "
            "than 2 GiB; export it in half precision: igc.export_onnx(static.half(), path)"
        )


def _input_names(program: Program) -> tuple[str, ...]:
    """The inputs' own names, changed only where an output has the same one."""
    taken = set(program.outputs)
    if len(taken) != len(program.outputs):
        raise LintError(f"two outputs have the same name: {', '.join(program.outputs)}")
    names: list[str] = []
    for spec in program.inputs:
        name = spec.name
        while name in taken:
            name += "_in"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _direct(program: Program, names: tuple[str, ...]) -> onnx.ModelProto:
    graph, outputs = lower(program, names)
    made = helper.make_graph(
        [_node(n, i) for i, n in enumerate(graph.nodes)],
        "static",
        [
            helper.make_tensor_value_info(name, _type(spec.dtype), dims)
            for name, spec, dims in zip(names, program.inputs, named_dims(program), strict=True)
        ],
        [helper.make_tensor_value_info(o.name, _type(o.dtype), o.dims) for o in outputs],
        _initialisers(graph),
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def _type(dtype: torch.dtype | None) -> int:
    if dtype not in TYPES:
        raise Unsupported(f"ONNX has no type for {dtype}")
    return int(TYPES[dtype])


def _node(node: OnnxNode, number: int) -> onnx.NodeProto:
    attributes: dict[str, Any] = {
        k: _type(v) if isinstance(v, torch.dtype) else v for k, v in node.attributes
    }
    name = f"{node.kind}_{number}"
    made = helper.make_node(node.kind, node.inputs, node.outputs, name=name)
    made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return made


def _initialisers(graph: OnnxGraph) -> list[TensorProto]:
    made = []
    for name, value in graph.initialisers.items():
        proto = TensorProto(name=name, data_type=_type(value.dtype), dims=tuple(value.shape))
        proto.raw_data = bytes(raw_bytes(value))
        made.append(proto)
    return made


def _example_shapes(program: Program, names: Sequence[str]) -> dict[str, list[int]]:
    """Concrete input shapes to count costs at: the example's, a dynamic batch being 1."""
    return {
        name: [
            1 if axis == 0 and isinstance(dim, str) else size
            for axis, (dim, size) in enumerate(
                zip(spec.dims, spec.shape(program.sizes), strict=True)
            )
        ]
        for name, spec in zip(names, program.inputs, strict=True)
    }


def _dress(
    model: onnx.ModelProto, program: Program, names: tuple[str, ...], extra: Mapping[str, str]
) -> None:
    """Provenance in, chatter out: stack traces, paths and doc strings of other tools go."""
    model.producer_name, model.producer_version = "igc", __version__
    model.doc_string = model.domain = ""
    graph = model.graph
    graph.name, graph.doc_string = "static", ""
    parts: list[Any] = [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in [*parts, *graph.value_info, *model.functions]:
        del part.metadata_props[:]
        part.doc_string = ""
    shapes_ = dict(zip(names, map(list, named_dims(program)), strict=True))
    meta = {
        "igc.version": __version__,
        "igc.tasks": _json(_tasks(program)),
        "igc.outputs": _json(list(program.outputs)),
        "igc.inputs": _json(shapes_),
        "igc.input_shapes": _json(_example_shapes(program, names)),
    }
    digest = program.note.get("source_sha256") or program.note.get("compiled_from")
    if digest:
        meta["igc.source_sha256"] = str(digest)
    _write_metadata(model, meta | dict(extra))


def _tasks(program: Program) -> list[str]:
    return list(dict.fromkeys(t for by in program.gates.values() for t in by)) or list(
        program.outputs
    )


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _write_metadata(model: onnx.ModelProto, meta: Mapping[str, str]) -> None:
    del model.metadata_props[:]
    for key in sorted(meta):
        model.metadata_props.add(key=key, value=meta[key])


def _bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _runner(
    data: bytes, program: Program, names: tuple[str, ...]
) -> Callable[[Mapping[str, Tensor]], Sequence[Tensor]]:
    """Runs the model in onnxruntime on inputs by the program's names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(feed: Mapping[str, Tensor]) -> Sequence[Tensor]:
        own = {n: feed[s.name].numpy() for n, s in zip(names, program.inputs, strict=True)}
        return [torch.from_numpy(v) for v in session.run(list(program.outputs), own)]

    return run


def _checked(
    model: onnx.ModelProto, program: Program, names: tuple[str, ...], chosen: Sequence[Sample]
) -> bytes:
    """The model's bytes; `CheckFailed` unless it is valid ONNX and agrees with the program.

    The full checker includes strict shape and type inference.
    """
    _dress(model, program, names, {})
    written = tuple(o.name for o in model.graph.output)
    if written != program.outputs:
        raise CheckFailed(f"the ONNX outputs are {written}, expected {program.outputs}")
    data = _bytes(model)
    with _refusing("the ONNX file is not valid"):
        onnx.checker.check_model(data, full_check=True)
    with _refusing("onnxruntime cannot run the ONNX file"):
        run = _runner(data, program, names)
    require_agreement(run, program.outputs, program, chosen, "the ONNX file")
    return data


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns whatever the block raises into one line of `CheckFailed`."""
    try:
        yield
    except Exception as error:  # checker, protobuf and runtime raise kinds of their own
        line = " ".join(str(error).split())[:300]
        raise CheckFailed(f"{what}: {line}") from error


def _simplified(
    model: onnx.ModelProto, program: Program, names: tuple[str, ...], chosen: Sequence[Sample]
) -> tuple[onnx.ModelProto, bytes] | None:
    """onnxsim's version and its bytes, where it is smaller and passes; None to keep ours."""
    if model.ByteSize() > SIMPLIFY_LIMIT:
        return None
    import onnxsim

    try:
        with quiet():
            simpler, _ = onnxsim.simplify(model)
        if not _better(simpler, model) or _signature(simpler) != _signature(model):
            return None
        return simpler, _checked(simpler, program, names, chosen)
    except Exception:  # whatever goes wrong in a foreign tool, the file at hand is the answer
        return None


def _better(new: onnx.ModelProto, old: onnx.ModelProto) -> bool:
    """Fewer nodes or bytes of weights, and more of neither."""
    before = (len(old.graph.node), _weight(old))
    after = (len(new.graph.node), _weight(new))
    return after != before and all(a <= b for a, b in zip(after, before, strict=True))


def _signature(model: onnx.ModelProto) -> list[tuple[str, int, list[int | str]]]:
    """Name, type and dims of the inputs: a simplifier may not fix what is dynamic."""
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in model.graph.input
    ]


def _weight(model: onnx.ModelProto) -> int:
    return sum(len(t.raw_data) or t.ByteSize() for t in model.graph.initializer)
