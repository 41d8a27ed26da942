"""A static network as an ONNX file: written, checked, simplified, dressed with provenance.

Nodes are written directly (`igc.emit.onnx.lower`), which is many times faster than
`torch.onnx.export` and leaves names and bytes under igc's control. A network with an op that has
no direct form goes through `torch.onnx.export`, and the file says so.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from igc.emit.onnx.agree import Sample, require_agreement, samples
from igc.emit.onnx.by_torch import export_by_torch
from igc.emit.onnx.lower import Unsupported
from igc.emit.onnx.model import OPSET, OnnxModel, direct, parted
from igc.emit.onnx.simplify import simplified
from igc.emit.sizes import named_dims
from igc.emit.torch.static import StaticNetwork, runnable
from igc.errors import BadInput, CheckFailed, LintError, one_line
from igc.files import atomic_write, check_writable
from igc.onnx_files.session import session
from igc.program import Program
from igc.program.gates import tasks_of
from igc.version import __version__

LIMIT = 2**31 - 2**20  # protobuf holds less than 2 GiB in one message

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

    Beside it goes its manifest, model.manifest.json for model.onnx, which tells of every tensor
    how it is made of the gated network's (`igc audit` checks it); not for a network that was
    loaded, or converted to another type since it was compiled: igc cannot tell of these. Both
    files are written, or none. Otherwise as `write_onnx`.
    """
    source = static.compiled_from
    if source is None or source.dtype != static.to_program().dtype:
        return write_onnx(static, path, simplify=simplify, verification=verification)
    from igc.certificate.manifest import manifest_path
    from igc.certificate.write import certify

    beside = manifest_path(Path(path))
    for target in (path, beside):
        check_writable(target)
    with atomic_write(path) as model, atomic_write(beside) as manifest:
        info = _write(static, model, simplify, verification)
        certify(static, model, manifest, source.hashes)
        size = model.stat().st_size
    return replace(info, path=str(path), size=size)


def write_onnx(
    static: StaticNetwork,
    path: str | os.PathLike[str],
    *,
    simplify: bool = True,
    verification: Verification | None = None,
) -> OnnxInfo:
    """Writes `static` to `path` as ONNX (opset 20), without a manifest.

    The batch, and height and width where the network takes any, stay dynamic. Outputs carry the
    names `static.outputs`, in that order, and each is compared by value with the static network
    before anything is written; the file passes the full checker and strict shape inference.
    `verification` is stored in the file's metadata: a mapping, or a function of the (temporary)
    file that returns one and may raise to prevent writing. The same network and igc version give
    the same bytes. A network in bfloat16 is written in float32, which onnxruntime can run.

    Raises `BadInput` (unwritable path, no ONNX form, 2 GiB or more) and `CheckFailed`.
    """
    check_writable(path)
    with atomic_write(path) as temporary:
        info = _write(static, temporary, simplify, verification)
    return replace(info, path=str(path))


def _write(
    static: StaticNetwork, path: Path, simplify: bool, verification: Verification | None
) -> OnnxInfo:
    """`write_onnx`, in place."""
    static = runnable(static)
    program = static.to_program()
    _check_size(program)
    names = _input_names(program)
    route, reason = "direct", ""
    try:
        model = direct(program, names)
    except Unsupported as unsupported:
        route, reason = "torch.onnx.export", str(unsupported)
        model = parted(export_by_torch(static, program, names, reason, OPSET))
    chosen = samples(program)
    size = _write_checked(model, path, program, names, chosen)
    simpler = _simplified(model, path, program, names, chosen) if simplify else None
    if simpler is not None:
        model, size = simpler
    result = verification(path) if callable(verification) else verification
    if result is not None:
        _dress(model.proto, program, names, {"igc.verification": _json(result)})
        size = model.write(path)
    return OnnxInfo(
        path=str(path),
        nodes=model.nodes,
        size=size,
        initialiser_size=model.weight,
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
        "igc.tasks": _json(tasks_of(program)),
        "igc.outputs": _json(list(program.outputs)),
        "igc.inputs": _json(shapes_),
        "igc.input_shapes": _json(_example_shapes(program, names)),
    }
    digest = program.note.get("source_sha256") or program.note.get("compiled_from")
    if digest:
        meta["igc.source_sha256"] = str(digest)
    _write_metadata(model, meta | dict(extra))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _write_metadata(model: onnx.ModelProto, meta: Mapping[str, str]) -> None:
    del model.metadata_props[:]
    for key in sorted(meta):
        model.metadata_props.add(key=key, value=meta[key])


def _runner(
    path: Path, program: Program, names: tuple[str, ...]
) -> Callable[[Mapping[str, Tensor]], Sequence[Tensor]]:
    """Runs the file in onnxruntime on inputs by the program's names."""
    running = session(path, threads=torch.get_num_threads())

    def run(feed: Mapping[str, Tensor]) -> Sequence[Tensor]:
        own = {n: feed[s.name].numpy() for n, s in zip(names, program.inputs, strict=True)}
        return [torch.from_numpy(v) for v in running.run(list(program.outputs), own)]

    return run


def _write_checked(
    model: OnnxModel,
    path: Path,
    program: Program,
    names: tuple[str, ...],
    chosen: Sequence[Sample],
) -> int:
    """Writes the model; `CheckFailed` unless it is valid ONNX and agrees with the program.

    The full checker includes strict shape and type inference. Returns the size in bytes.
    """
    _dress(model.proto, program, names, {})
    written = tuple(o.name for o in model.proto.graph.output)
    if written != program.outputs:
        raise CheckFailed(f"the ONNX outputs are {written}, expected {program.outputs}")
    size = model.write(path)
    with _refusing("the ONNX file is not valid"):
        onnx.checker.check_model(str(path), full_check=True)
    with _refusing("onnxruntime cannot run the ONNX file"):
        run = _runner(path, program, names)
    require_agreement(run, program.outputs, program, chosen, "the ONNX file")
    return size


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns whatever the block raises into one line of `CheckFailed`."""
    try:
        yield
    except Exception as error:  # checker, protobuf and runtime raise kinds of their own
        line = one_line(error)
        raise CheckFailed(f"{what}: {line}") from error


def _simplified(
    model: OnnxModel,
    path: Path,
    program: Program,
    names: tuple[str, ...],
    chosen: Sequence[Sample],
) -> tuple[OnnxModel, int] | None:
    """onnxsim's version and its size, put at `path` where it is smaller and passes; None if not."""
    trial = path.with_name(f"simpler-{path.name}")
    try:
        simpler = simplified(model)
        if simpler is None:
            return None
        size = _write_checked(simpler, trial, program, names, chosen)
        trial.replace(path)
        return simpler, size
    except Exception:  # whatever goes wrong in a foreign tool, the file at hand is the answer
        return None
    finally:
        trial.unlink(missing_ok=True)
