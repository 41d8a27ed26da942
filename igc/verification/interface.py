"""What an ONNX file declares of its inputs and outputs, against the network it is said to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor

from igc.onnx_files.types import NUMBERS
from igc.program import InputSpec, Program
from igc.program.execute import execute


def interface_problems(
    graph: onnx.GraphProto, program: Program, given: Sequence[Sequence[Tensor]]
) -> Iterator[str]:
    """One line for each input or output that is not as the network has it.

    Names, order, types, ranks, which sizes are open and which are fixed. `given` are inputs of
    several sizes: whatever size the file declares for an output has to fit all of them. Outputs may
    be fewer than the network's. A bfloat16 network may be a float32 file.
    """
    known = {t.name for t in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != len(program.inputs):
        yield f"input: the model takes {len(inputs)}, the network {len(program.inputs)}"
        return
    for value, spec in zip(inputs, program.inputs, strict=True):
        yield from _of_input(value, spec)
    for inputs_given in given:
        meta = [i.to("meta") for i in inputs_given]
        outputs = dict(zip(program.outputs, execute(program, meta, device="meta"), strict=True))
        pairs = [(o, outputs[o.name]) for o in graph.output if o.name in outputs]
        problems = [line for value, found in pairs for line in _of_output(value, found)]
        if problems:
            yield from problems
            return


def _of_input(value: onnx.ValueInfoProto, spec: InputSpec) -> Iterator[str]:
    if value.name.removesuffix("_in") != spec.name.removesuffix("_in"):
        yield f"input '{value.name}': the network calls it '{spec.name}'"
    yield from _type(f"input '{value.name}'", value, spec.dtype)
    dims = _dims(value)
    if dims is None or len(dims) != len(spec.dims):
        yield f"size: '{value.name}' has {_axes(dims)}, in the network {len(spec.dims)}"
        return
    for axis, (declared, own) in enumerate(zip(dims, spec.dims, strict=True)):
        if declared is None and isinstance(own, int):
            yield f"size: '{value.name}' is open at axis {axis}, in the network fixed at {own}"
        elif declared is not None and declared != own:
            there = own if isinstance(own, int) else "open"
            fixed = f"is fixed at {declared} at axis {axis}"
            yield f"size: '{value.name}' {fixed}, in the network {there}"


def _of_output(value: onnx.ValueInfoProto, found: Any) -> Iterator[str]:
    if not isinstance(found, Tensor):
        return
    found = torch.view_as_real(found) if found.is_complex() else found
    yield from _type(f"output '{value.name}'", value, found.dtype)
    dims = _dims(value)
    if dims is None or len(dims) != found.ndim:
        yield f"size: '{value.name}' has {_axes(dims)}, in the network {found.ndim}"
    elif any(d is not None and d != n for d, n in zip(dims, found.shape, strict=True)):
        declared = "x".join("?" if d is None else str(d) for d in dims)
        yield (
            f"size: '{value.name}' is declared as {declared}, and in the network "
            f"{'x'.join(map(str, found.shape))} for some inputs"
        )


def _type(what: str, value: onnx.ValueInfoProto, dtype: torch.dtype) -> Iterator[str]:
    declared = value.type.tensor_type.elem_type
    allowed = {dtype, torch.float32} if dtype == torch.bfloat16 else {dtype}
    if declared not in {NUMBERS.get(kind) for kind in allowed}:
        name = onnx.TensorProto.DataType.Name(declared).lower()
        yield f"type: {what} is {name}, in the network {str(dtype).removeprefix('torch.')}"


def _dims(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """The declared sizes, None for those that are open; None where nothing is declared."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]


def _axes(dims: list[int | None] | None) -> str:
    return "no declared shape" if dims is None else f"{len(dims)} axes"
