"""What an ONNX file says of itself: who wrote it, from what, which tasks, inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from igc.emit.sizes import named_dims
from igc.program import Program
from igc.program.gates import tasks_of
from igc.version import __version__


def dress(
    model: onnx.ModelProto, program: Program, names: Sequence[str], extra: Mapping[str, Any]
) -> None:
    """Provenance in, chatter out: stack traces, paths and doc strings of other tools go.

    `names` are the inputs' names in the file; `extra` are further entries, as data.
    """
    model.producer_name, model.producer_version = "igc", __version__
    model.doc_string = model.domain = ""
    graph = model.graph
    graph.name, graph.doc_string = "static", ""
    parts: list[Any] = [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in [*parts, *graph.value_info, *model.functions]:
        del part.metadata_props[:]
        part.doc_string = ""
    dims = dict(zip(names, map(list, named_dims(program)), strict=True))
    meta = {
        "igc.version": __version__,
        "igc.tasks": _json(tasks_of(program)),
        "igc.outputs": _json(list(program.outputs)),
        "igc.inputs": _json(dims),
        "igc.input_shapes": _json(_example_shapes(program, names)),
        **{key: _json(value) for key, value in extra.items()},
    }
    digest = program.note.get("source_sha256") or program.note.get("compiled_from")
    if digest:
        meta["igc.source_sha256"] = str(digest)
    del model.metadata_props[:]
    for key in sorted(meta):
        model.metadata_props.add(key=key, value=meta[key])


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


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
