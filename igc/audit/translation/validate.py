"""Are two networks the same function? Both are read into one store of terms, and compared there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch

from igc.audit.translation import (
    aten_axes,
    aten_layers,
    aten_moves,
    aten_numbers,
    onnx_layers,
    onnx_moves,
)
from igc.audit.translation.container import findings
from igc.audit.translation.file import File
from igc.audit.translation.gated import Gated, input_values
from igc.audit.translation.layers import Layers
from igc.audit.translation.terms import NotShown, Store
from igc.audit.translation.value import Value, each, tidy
from igc.errors import one_line
from igc.program import Program
from igc.program.dtypes import narrower

ATEN = {**aten_axes.RULES, **aten_layers.RULES, **aten_moves.RULES, **aten_numbers.RULES}
ONNX = {**onnx_layers.RULES, **onnx_moves.RULES}
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError,
             RuntimeError, ArithmeticError, RecursionError,
             onnx.checker.ValidationError)  # fmt: skip
EPS = {
    onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16, onnx.TensorProto.BFLOAT16: torch.bfloat16,
}  # fmt: skip


@dataclass(frozen=True)
class Translation:
    """What was shown: that is so for every output where `stopped` is empty."""

    outputs: tuple[str, ...] = ()
    terms: int = 0
    nodes: int = 0
    stopped: str = ""
    findings: Sequence[str] = field(default=())

    @property
    def shown(self) -> bool:
        """Whether every output of the file was shown to be the network's, for every input."""
        return not self.stopped and not self.findings


def validate(model: onnx.ModelProto, program: Program) -> Translation:
    """Whether the graph of `model` computes the outputs of `program` of the same names.

    Nothing is run but what depends on constants alone. Weights are compared up to the rounding of
    the type that the file stores.
    """
    graph = model.graph
    unread = tuple(findings(model, program))
    kinds = [v.type.tensor_type.elem_type for v in [*graph.output, *graph.input]]
    own = next((EPS[k] for k in kinds if k in EPS), torch.float32)
    eps = max(torch.finfo(own).eps, torch.finfo(torch.float64).eps)
    wider = narrower(program.dtype, own)
    algebra = Layers(Store(eps))
    try:
        onnx.checker.check_model(model)
        gated = dict(
            zip(program.outputs, Gated(algebra, program, ATEN, wider).outputs(), strict=True)
        )
        first = len(algebra.store)
        algebra.store.close_gated()
        names = [v.name for v in graph.input]
        known = dict(zip(names, input_values(algebra, program), strict=True))
        file = File(algebra, graph, known, ONNX)
        file.read()
        for value in graph.output:
            if value.name not in gated:
                raise NotShown(f"output '{value.name}': the network has none of this name")
            mine = algebra.value(file.values[value.name])
            mine = Value(mine.axes, each(algebra.store, mine, algebra.store.settled))
            _require_declared(value, mine)
            if file.types[value.name] != value.type.tensor_type.elem_type:
                raise NotShown(f"output '{value.name}': it is declared with another type")
            if not same(gated[value.name], mine):
                raise NotShown(f"output '{value.name}': {_where(file, value.name, first)}")
        outputs = [algebra.value(file.values[v.name]) for v in graph.output]
        algebra.store.require_used(t for v in outputs for t in v.ids.reshape(-1).tolist())
    except MALFORMED as error:
        return Translation(stopped=f"the file: it means nothing ({one_line(error)})",
                           findings=unread)  # fmt: skip
    except NotShown as why:
        return Translation(stopped=str(why), findings=unread)
    return Translation(tuple(v.name for v in graph.output), first, len(graph.node),
                       findings=unread)  # fmt: skip


def _require_declared(declared: onnx.ValueInfoProto, value: Value) -> None:
    """The sizes that the file declares of an output are those that it has."""
    dims = declared.type.tensor_type.shape.dim
    if len(dims) != len(value.axes):
        raise NotShown(f"output '{declared.name}': it is declared with {len(dims)} axes")
    for axis, dim in enumerate(dims):
        size = value.size(axis)
        if dim.HasField("dim_value") and dim.dim_value != size:
            raise NotShown(f"output '{declared.name}': axis {axis} is declared as {dim.dim_value}")


def same(a: Value, b: Value) -> bool:
    """Whether two values have the same axes and the same terms."""
    a, b = tidy(a), tidy(b)
    return a.axes == b.axes and bool(np.array_equal(a.ids, b.ids))


def _where(file: File, output: str, first: int) -> str:
    """The first node, on the way to an output, whose channels are none of the gated network's."""
    made = {name: node for node in file.graph.node for name in node.output}
    wanted, stack = set(), [output]
    while stack:
        name = stack.pop()
        if name in made and name not in wanted:
            wanted.add(name)
            stack += made[name].input
    for node in file.graph.node:
        for name in node.output:
            value = file.values.get(name)
            if name in wanted and isinstance(value, Value) and bool((value.ids >= first).any()):
                strange = int(np.argmax(value.ids.reshape(-1) >= first))
                return (f"node '{node.name or name}' ({node.op_type}) computes what the gated "
                        f"network does not (channel {strange})")  # fmt: skip
    return "other channels than the network's, or in another order"
