"""An ONNX file as one side of a verification: is it valid, and what does onnxruntime compute?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from igc.certificate.manifest import not_of_its_run
from igc.emit.onnx.model import LARGE, with_initialisers
from igc.errors import BadInput, one_line
from igc.onnx_files.findings import findings
from igc.onnx_files.guard import read_onnx
from igc.onnx_files.session import run_bounded, session
from igc.program import InputSpec
from igc.program.dtypes import cast_to
from igc.verification.channels import Axis
from igc.verification.diverge_onnx import first_onnx_difference
from igc.verification.inputs import Draw, Signature
from igc.verification.interface import interface_problems
from igc.verification.side import Exact, Outputs, Side

LEVELS = {
    "onnxruntime, graph optimisations off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "onnxruntime, graph optimisations on": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass
class OnnxSide(Side):
    """An ONNX file: its inputs and outputs, its defects, and what it computes.

    Its path is its `label`; `model` is its graph without the values of large tensors. `levels` are
    the ways to run it: levels of graph optimisation by name.
    """

    label: str
    levels: Mapping[str, Any] = field(default_factory=lambda: LEVELS)
    model: onnx.ModelProto = field(init=False, repr=False)
    _session_of: str = ""
    _session: Any = None
    _known: dict[tuple[str, str], Outputs | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = _without_values(read_onnx(self.label))

    @property
    def runtime(self) -> str:
        """onnxruntime."""
        return "onnxruntime"

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of the levels."""
        return tuple(self.levels)

    @property
    def approximates(self) -> bool:
        """True: its sigmoid, for one, is off by 1.7e-7 whatever its value."""
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs, in the order of the file."""
        return tuple(o.name for o in self.model.graph.output)

    def company(self) -> list[str]:
        """What its manifest does not know, where one lies beside it."""
        return not_of_its_run(Path(self.label))

    @property
    def kinds(self) -> tuple[torch.dtype, ...]:
        """The types of the outputs."""
        return tuple(self._dtype(o, "output") for o in self.model.graph.output)

    def channel_axes(self) -> list[Axis]:
        """The second axis of each output where its size is a number, else the last one."""
        return [_declared_axis(o.type.tensor_type.shape.dim) for o in self.model.graph.output]

    def signature(self, full: bool = False) -> Signature:
        """What the file takes; a dynamic batch counts as 2, any other dynamic size as 32."""
        known = {i.name for i in self.model.graph.initializer}
        specs: list[InputSpec] = []
        sizes: dict[str, int] = {}
        for value in self.model.graph.input:
            if value.name in known:
                continue
            dims: list[int | str] = []
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if dim.HasField("dim_value"):
                    dims.append(dim.dim_value)
                    continue
                name = dim.dim_param or f"{value.name}.{axis}"
                sizes.setdefault(name, 32 if axis else 2)
                dims.append(name)
            specs.append(InputSpec(value.name, tuple(dims), self._dtype(value)))
        return Signature(tuple(specs), sizes, {})

    def _dtype(self, value: onnx.ValueInfoProto, what: str = "input") -> torch.dtype:
        kind = value.type.tensor_type.elem_type
        try:
            sample = np.zeros((), dtype=onnx.helper.tensor_dtype_to_np_dtype(kind))
            return torch.from_numpy(sample).dtype
        except (KeyError, TypeError) as error:
            raise BadInput(
                f"{self.label}: {what} '{value.name}' has a type that igc cannot feed"
            ) from error

    def defects(self) -> list[str]:
        """What is wrong with the file itself: not valid, or it holds what runs do not show."""
        return self._invalid() + findings(self.model)

    def misdeclared(self, reference: Exact, points: Sequence[Sequence[Tensor]]) -> list[str]:
        """Names, types, ranks and sizes that are not the reference's."""
        return list(interface_problems(self.model.graph, reference.decided, points))

    def _invalid(self) -> list[str]:
        """What the full checker, strict shape inference and channel counts complain of."""
        try:
            onnx.checker.check_model(self.label, full_check=True)
        except Exception as error:  # the checker raises its own and protobuf's errors
            return [f"the file is not valid ONNX: {one_line(error)}"]
        try:
            inferred = onnx.shape_inference.infer_shapes(
                self.model, check_type=True, strict_mode=True, data_prop=True
            )
        except Exception as error:  # as above; InferenceError is a RuntimeError
            return [f"strict shape inference fails: {one_line(error)}"]
        return wrong_widths(inferred)

    def prepare(self, names: Sequence[str], draws: Sequence[Draw]) -> None:
        """Runs every draw in every way now, with one session alive at a time.

        `run` then knows the outputs, or raises what onnxruntime raised.
        """
        for way in self.levels:
            for draw in draws:
                if way not in self.ways_for(draw) or self.takes(names, draw.tensors):
                    continue
                try:
                    found: Outputs | Exception = self._run(way, names, draw.tensors)
                except Exception as error:  # raised again by `run`, where it is accounted for
                    found = error
                self._known[way, draw.label] = found
        self._session, self._session_of = None, ""

    def run(self, way: str, names: Sequence[str], draw: Draw) -> Outputs:
        """The outputs that onnxruntime computes on the CPU, with the optimisations of `way`.

        `names` are the reference's names of the inputs: they are matched by name where the file
        knows them, else by position. Raises what onnxruntime raises.
        """
        found = self._known.get((way, draw.label))
        if isinstance(found, Exception):
            raise found
        return self._run(way, names, draw.tensors) if found is None else found

    def _run(self, way: str, names: Sequence[str], inputs: Sequence[Tensor]) -> Outputs:
        feed = self.feed(names, inputs)
        outputs = run_bounded(self._started(way), list(self.names), feed)
        return [torch.from_numpy(np.asarray(value)) for value in outputs]

    def feed(self, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, Any]:
        """The inputs as arrays under the file's names, in the file's types."""
        specs = self.signature().inputs
        wanted = [s.name for s in specs]
        if set(wanted) <= set(names):
            chosen = [inputs[list(names).index(name)] for name in wanted]
        elif len(wanted) == len(inputs):
            chosen = list(inputs)
        else:
            raise BadInput(
                f"{self.label} takes {len(wanted)} inputs ({', '.join(wanted)}), the reference "
                f"{len(inputs)} ({', '.join(names)})"
            )
        return {
            spec.name: np.ascontiguousarray(_as(value, spec.dtype).numpy())
            for spec, value in zip(specs, chosen, strict=True)
        }

    def takes(self, names: Sequence[str], inputs: Sequence[Tensor]) -> str:
        """Empty, or which fixed size of the file these inputs do not have."""
        specs = {s.name: s for s in self.signature().inputs}
        by_name = set(specs) <= set(names)
        for i, spec in enumerate(self.signature().inputs):
            position = list(names).index(spec.name) if by_name else i
            shape = tuple(inputs[position].shape) if position < len(inputs) else ()
            fits = len(shape) == len(spec.dims) and all(
                isinstance(d, str) or d == n for d, n in zip(spec.dims, shape, strict=True)
            )
            if not fits:
                fixed = "x".join(map(str, spec.dims))
                return f"the file's input '{spec.name}' is fixed at {fixed}"
        return ""

    def first_difference(
        self, reference: Exact, names: Sequence[str], inputs: Sequence[Tensor]
    ) -> str | None:
        """The first layer whose value in onnxruntime is not the reference's."""
        feed = self.feed(names, inputs)
        return first_onnx_difference(reference.decided, self.label, self.model, feed, inputs)

    def _started(self, way: str) -> Any:
        """The session for `way`; only the last one asked for is kept."""
        if self._session_of != way:
            self._session = None
            self._session = session(self.label, self.levels[way])
            self._session_of = way
        return self._session


def _without_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the values of its large tensors left out; their types and dims stay."""
    tensors = [
        onnx.TensorProto(name=t.name, data_type=t.data_type, dims=t.dims)
        if len(t.raw_data) >= LARGE
        else t
        for t in model.graph.initializer
    ]
    return with_initialisers(model, tensors)


def _declared_axis(dims: Sequence[onnx.TensorShapeProto.Dimension]) -> Axis:
    fixed = [i for i in (1, len(dims) - 1) if 0 < i < len(dims) and dims[i].HasField("dim_value")]
    return fixed[0] if fixed else None


def wrong_widths(model: onnx.ModelProto) -> list[str]:
    """Convolutions whose kernels do not fit their input's channels.

    Strict shape inference does not look: it accepts 6 channels into a kernel for 7.
    """
    shapes: dict[str, list[int | None]] = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    weights: dict[str, list[int]] = {i.name: list(i.dims) for i in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in weights:
            continue
        shape = shapes.get(node.input[0], [])
        channels = shape[1] if len(shape) > 1 else None
        kernel = weights[node.input[1]]
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        takes = kernel[1] * groups if node.op_type == "Conv" else kernel[0]
        if channels is not None and channels != takes:
            found.append(
                f"{node.op_type} '{node.name}' takes {takes} channels and is given {channels}"
            )
    return found


def _as(value: Tensor, dtype: torch.dtype) -> Tensor:
    return cast_to(value, dtype) if dtype.is_floating_point else value.to(dtype)
