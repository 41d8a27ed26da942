"""torch against onnxruntime at every level of its graph optimisations, and float64 against float64.

One compilation of a network goes through four legs:

- structure: the compiled program, before its folded constants are rounded, against the gated module
  in float64: 1e-10 of the output's largest value;
- torch: the static module against the gated one, both as they are used (float32);
- runtime: the ONNX file at every level that this onnxruntime has, against the gated module;
- minimum: kernel elements held against kernel elements needed (`igc.testing.oracle`).

The bound of the float32 legs is the one `igc.verify` derives: a multiple of the error that the
gated module itself makes on these inputs against float64, plus a floor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc
from igc.compiler import compilation
from igc.program.execute import execute
from igc.testing.builder import build
from igc.testing.judge import assert_bounded
from igc.testing.oracle import assert_minimal, in_double, relative_error
from igc.testing.spec import Spec, exact
from igc.verification.bounds import own_leg
from igc.verification.draws import main_draws
from igc.verification.inputs import of_program
from igc.verification.yardstick import Yardstick, yardstick

LEVELS = {
    name.removeprefix("ORT_").lower(): level
    for name, level in onnxruntime.GraphOptimizationLevel.__members__.items()
}


def differential(spec: Spec) -> frozenset[str]:
    """Puts the network of `spec` through every leg; the ATen ops it is made of.

    Raises `AssertionError` that names the leg, the output and the inputs; whatever the compiler
    raises comes through.
    """
    net, inputs = build(spec)
    found = compilation(net, inputs)
    static = found.static
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        igc.export_onnx(static, path)
        sessions = {name: _session(path, level) for name, level in LEVELS.items()}
        double = in_double(net)
        for draw in main_draws(of_program(found.gated)):
            with torch.no_grad():
                own = _leaves(net(*draw.tensors))
                want = _leaves(
                    double(*[x.double() if x.is_floating_point() else x for x in draw.tensors])
                )
                structure = execute(found.program, draw.tensors, dtype=torch.float64)
                torch_leg = _leaves(static(*draw.tensors))
            same_numbers(want, structure, draw.label)
            yards = [yardstick(o, w, None) for o, w in zip(own, want, strict=True)]
            within_bound(yards, torch_leg, "static module in torch", draw.label)
            for name, session in sessions.items():
                feed = {
                    i.name: x.numpy()
                    for i, x in zip(session.get_inputs(), draw.tensors, strict=True)
                }
                got = [torch.from_numpy(v) for v in session.run(None, feed)]
                within_bound(yards, got, f"onnxruntime, level {name}", draw.label)
    if exact(spec):
        assert_minimal(net, static, inputs, draws=3)
    else:
        assert_bounded(spec, net, static, inputs)
    return frozenset(str(n.target) for n in found.gated.graph.nodes if n.op == "call_function")


def same_numbers(
    want: Sequence[Tensor], have: Sequence[Tensor], where: str, tolerance: float = 1e-10
) -> None:
    """Fails unless the float64 outputs agree to `tolerance` of each one's largest value."""
    for i, (a, b) in enumerate(zip(want, have, strict=True)):
        assert a.shape == b.shape, f"float64, {where}: output {i} {a.shape} became {b.shape}"
        error = relative_error(a, b)
        assert error <= tolerance, f"float64, {where}: output {i} has relative error {error:.3g}"


def within_bound(yards: Sequence[Yardstick], have: Sequence[Tensor], way: str, where: str) -> None:
    """Fails unless every output is within the bound derived from the reference's own rounding."""
    for i, (yard, value) in enumerate(zip(yards, have, strict=True)):
        leg = own_leg(str(i), way, where, yard, value)
        assert leg.passed, (
            f"{way}, {where}: output {i} differs by {leg.max_abs:.3g}, allowed {leg.bound:.3g} "
            f"(largest value {leg.scale:.3g}) {leg.problem}"
        )


def _session(path: Path, level: object) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _leaves(value: object) -> list[Tensor]:
    return [v for v in pytree.tree_leaves(value) if isinstance(v, nn.Parameter | Tensor)]
