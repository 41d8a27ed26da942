"""onnxsim's version of a model, where it is smaller.

Large weights are shown to it as inputs: igc has folded what can be folded of them, and onnxsim
would hold several copies of each.
"""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto

from igc.emit.onnx.by_torch import quiet
from igc.emit.onnx.model import OnnxModel, value_infos
from igc.onnx_files.types import FLOATING


def simplified(model: OnnxModel) -> OnnxModel | None:
    """The simplified model; None where it has not fewer nodes or weights, or a new signature."""
    import onnxsim

    if any(TensorProto.BFLOAT16 in (a.i for a in n.attribute) for n in model.proto.graph.node
           if n.op_type == "Cast"):  # fmt: skip
        return None  # it has no type for it: it fails, at length, where it folds such a cast

    asked = onnx.ModelProto()
    asked.CopyFrom(model.proto)
    asked.graph.input.extend(value_infos(model.weights))
    # Nor may it compute a new weight of an old one: what it would hold is in no checkpoint.
    small: list[TensorProto] = []
    rest: list[TensorProto] = []
    for one in asked.graph.initializer:
        (small if one.data_type in FLOATING and math.prod(one.dims) > 1 else rest).append(one)
    small, rest = [_copy(i) for i in small], [_copy(i) for i in rest]
    asked.graph.input.extend(
        onnx.helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in small
    )
    del asked.graph.initializer[:]
    asked.graph.initializer.extend(rest)
    with quiet():
        found, _ = onnxsim.simplify(asked)
    apart = {*model.weights, *(i.name for i in small)}
    inputs = [value for value in found.graph.input if value.name not in apart]
    del found.graph.input[:]
    found.graph.input.extend(inputs)
    read = {name for node in found.graph.node for name in node.input}
    read |= {output.name for output in found.graph.output}
    found.graph.initializer.extend(i for i in small if i.name in read)
    made = OnnxModel(found, {n: w for n, w in model.weights.items() if n in read})
    fits = _better(made, model) and _signature(made.proto) == _signature(model.proto)
    return made if fits else None


def _better(new: OnnxModel, old: OnnxModel) -> bool:
    """Fewer nodes or bytes of weights, and more of neither."""
    before, after = (old.nodes, old.weight), (new.nodes, new.weight)
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


def _copy(tensor: TensorProto) -> TensorProto:
    made = TensorProto()
    made.CopyFrom(tensor)
    return made
