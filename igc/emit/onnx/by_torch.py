"""ONNX by way of `torch.onnx.export`, for networks with an op that igc has no direct form for."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from igc.emit.sizes import named_dims
from igc.emit.torch.static import StaticNetwork
from igc.errors import BadInput, one_line
from igc.program import Program
from igc.program.returned import tensors_of


def export_by_torch(
    static: StaticNetwork, program: Program, names: tuple[str, ...], reason: str, opset: int
) -> Any:
    """The ONNX model as torch's own exporter writes it, under igc's names.

    `reason` is why it is asked at all. Raises `BadInput` where it cannot write the model either.
    """
    inputs = tuple(torch.zeros(s.shape(program.sizes), dtype=s.dtype) for s in program.inputs)
    dynamic = tuple(
        {a: torch.export.Dim.AUTO for a, d in enumerate(s.dims) if isinstance(d, str)}
        for s in program.inputs
    )
    training = static.training
    handle = static.register_forward_hook(lambda _, __, result: tuple(tensors_of(result)))
    try:
        with quiet():
            exported = torch.onnx.export(
                static.eval(), inputs, dynamo=True, opset_version=opset, dynamic_shapes=dynamic,
                input_names=list(names), output_names=list(program.outputs), verify=False,
                verbose=False, external_data=False,
            )  # fmt: skip
    except Exception as error:  # the exporter raises many kinds
        line = one_line(error, 200)
        raise BadInput(f"cannot be written as ONNX: {reason} ({line})") from error
    finally:
        handle.remove()
        static.train(training)
    assert exported is not None
    model = exported.model_proto
    renamed = {}
    for value, dims in zip(model.graph.input, named_dims(program), strict=True):
        for dim, wanted in zip(value.type.tensor_type.shape.dim, dims, strict=True):
            if dim.dim_param and isinstance(wanted, str):
                renamed[dim.dim_param] = wanted
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps exporters from talking: warnings, log lines, prints."""
    silent = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
