"""The first layer of an ONNX file that diverges, found by the names of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, fx

from igc.errors import IgcError
from igc.onnx_files.session import run_bounded, session
from igc.program import Program
from igc.program.execute import execute
from igc.program.nodes import layer_of
from igc.verification.diverge import difference

MIXING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
TOLERANCES = (1e-3, 1e-4, 1e-5)  # float32 against float64: the clearest difference first


def first_onnx_difference(
    reference: Program,
    path: str,
    model: onnx.ModelProto,
    feed: Mapping[str, Any],
    inputs: Sequence[Tensor],
) -> str | None:
    """The first layer whose value in onnxruntime is not that of the reference, with the figure.

    `model` is the graph of the file at `path`, `feed` the `inputs` as the file takes them.

    A node of the file corresponds to the node of a program that reads the weight of the same
    name: of the compiled reference (igc keeps its names in the files it writes) or of the
    reference itself (as other exporters do). None where no weight has a known name.
    """
    programs = [reference, *_compiled(reference)]
    pairs, program = max(((_pairs(p, model), p) for p in programs), key=lambda found: len(found[0]))
    if not pairs:
        return None
    values: dict[str, Tensor] = {}
    wanted = {node.name for node, _ in pairs}

    def keep(node: fx.Node, value: object) -> None:
        if node.name in wanted and isinstance(value, Tensor):
            values[node.name] = value

    with torch.no_grad():
        execute(program, inputs, dtype=torch.float64, visit=keep)
    try:
        seen = _run(path, [tensor for _, tensor in pairs], feed)
    except Exception:  # the file does not run with its insides shown: there is nothing to tell
        return None
    for tolerance in TOLERANCES:
        for node, tensor in pairs:
            text = difference(values[node.name], seen[tensor], tolerance)
            if text:
                return f"{layer_of(node)} (tensor {tensor}: {text})"
    return None


def _compiled(reference: Program) -> list[Program]:
    from igc.compiler import compile_program

    try:
        return [compile_program(reference)[0]]
    except IgcError:
        return []


def _pairs(program: Program, model: onnx.ModelProto) -> list[tuple[fx.Node, str]]:
    """Nodes of the program and the tensors of the file that read the same weight, in file order."""
    readers: dict[str, list[fx.Node]] = {}
    for node in program.graph.nodes:
        for operand in node.all_input_nodes if node.op == "call_function" else ():
            if operand.op == "get_attr":
                readers.setdefault(str(operand.target), []).append(node)
    found = []
    for part in model.graph.node:
        if part.op_type not in MIXING or len(part.input) < 2:
            continue
        nodes = readers.get(part.input[1], [])
        if len(nodes) == 1 and _operands(nodes[0]) == len(part.input):
            found.append((nodes[0], part.output[0]))
    return found


def _operands(node: fx.Node) -> int:
    return sum(isinstance(a, fx.Node) for a in node.args)


def _run(path: str, tensors: Sequence[str], feed: Mapping[str, Any]) -> dict[str, Tensor]:
    """The values of inner tensors, which are made outputs of a copy of the file."""
    model = onnx.load(path)
    kind = model.graph.output[0].type.tensor_type.elem_type
    known = {o.name for o in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(t, kind, None) for t in tensors if t not in known
    )
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    running = session(model.SerializeToString(), level)
    found = run_bounded(running, tensors, feed)
    return {t: torch.from_numpy(v) for t, v in zip(tensors, found, strict=True)}
