"""An ONNX model under construction, its large weights beside the protobuf message.

Weights are held as the tensors they came as, and enter a message only while a file is written: a
network is then held once, not once more per tool that looks at the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper
from torch import Tensor

from igc.emit.onnx.lower import OnnxNode, Unsupported, lower
from igc.emit.sizes import named_dims
from igc.onnx_files.types import NUMBERS, TYPES
from igc.program import Program
from igc.program.digest import raw_bytes

OPSET = 20
IR_VERSION = 9  # the one that came with opset 20
LARGE = 1 << 14  # bytes: shapes and indices, which tools read, are smaller


@dataclass
class OnnxModel:
    """`proto` without its large weights, and those by name."""

    proto: onnx.ModelProto
    weights: dict[str, Tensor]

    @property
    def nodes(self) -> int:
        """How many nodes the graph has."""
        return len(self.proto.graph.node)

    @property
    def weight(self) -> int:
        """Bytes of all initialisers."""
        small = sum(len(t.raw_data) or t.ByteSize() for t in self.proto.graph.initializer)
        return small + sum(w.numel() * w.element_size() for w in self.weights.values())

    def write(self, path: Path) -> int:
        """Writes the whole model to `path`; returns the size in bytes."""
        whole = onnx.ModelProto()
        whole.CopyFrom(self.proto)
        whole.graph.initializer.extend(_initialiser(n, w) for n, w in self.weights.items())
        try:
            return path.write_bytes(whole.SerializeToString(deterministic=True))
        except EncodeError as error:  # smaller than the format allows: what failed is memory
            raise MemoryError(f"the message of {self.weight >> 20} MiB: {error}") from error


def direct(program: Program, names: tuple[str, ...]) -> OnnxModel:
    """The model that igc writes itself, its inputs called `names`. Raises `Unsupported`."""
    graph, outputs = lower(program, names)
    large = {n: t for n, t in graph.initialisers.items() if _is_large(t)}
    made = helper.make_graph(
        [_node(n, i) for i, n in enumerate(graph.nodes)],
        "static",
        [
            helper.make_tensor_value_info(name, onnx_type(spec.dtype), dims)
            for name, spec, dims in zip(names, program.inputs, named_dims(program), strict=True)
        ],
        [helper.make_tensor_value_info(o.name, onnx_type(o.dtype), o.dims) for o in outputs],
        [_initialiser(n, t) for n, t in graph.initialisers.items() if n not in large],
    )
    proto = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    return OnnxModel(proto, large)


def parted(proto: onnx.ModelProto) -> OnnxModel:
    """A whole model with its large weights taken out."""
    weights: dict[str, Tensor] = {}
    small: list[TensorProto] = []
    for each in proto.graph.initializer:
        if len(each.raw_data) < LARGE or each.data_type not in TYPES:
            small.append(each)
            continue
        flat = torch.from_numpy(np.frombuffer(each.raw_data, np.uint8).copy())
        weights[each.name] = flat.view(TYPES[each.data_type]).reshape(tuple(each.dims))
    return OnnxModel(with_initialisers(proto, small), weights)


def with_initialisers(proto: onnx.ModelProto, initialisers: list[TensorProto]) -> onnx.ModelProto:
    """A copy of the model that has these initialisers instead of its own."""
    graph = proto.graph
    made = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            _copy_field(made, field.name, value)
    for field, value in graph.ListFields():
        if field.name != "initializer":
            _copy_field(made.graph, field.name, value)
    made.graph.initializer.extend(initialisers)
    return made


def onnx_type(dtype: torch.dtype | None) -> int:
    """ONNX's number for a dtype. Raises `Unsupported`."""
    if dtype not in NUMBERS:
        raise Unsupported(f"ONNX has no type for {dtype}")
    return int(NUMBERS[dtype])


def value_infos(weights: Mapping[str, Tensor]) -> list[onnx.ValueInfoProto]:
    """Weights as graph inputs: what a tool needs to know that may not see their values."""
    return [
        helper.make_tensor_value_info(name, onnx_type(value.dtype), list(value.shape))
        for name, value in weights.items()
    ]


def _is_large(value: Tensor) -> bool:
    return value.numel() * value.element_size() >= LARGE


def _copy_field(message: Any, name: str, value: Any) -> None:
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _node(node: OnnxNode, number: int) -> onnx.NodeProto:
    attributes: dict[str, Any] = {
        k: onnx_type(v) if isinstance(v, torch.dtype) else v for k, v in node.attributes
    }
    name = f"{node.kind}_{number}"
    made = helper.make_node(node.kind, node.inputs, node.outputs, name=name)
    made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return made


def _initialiser(name: str, value: Tensor) -> TensorProto:
    made = TensorProto(name=name, data_type=onnx_type(value.dtype), dims=tuple(value.shape))
    made.raw_data = bytes(raw_bytes(value))
    return made
