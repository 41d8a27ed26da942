"""Every model traces and exports, and its cost is the same however it is counted."""

from __future__ import annotations

import pytest
import torch
from model_zoo import ZOO, build, pictures
from slowness import slow_but
from torch import fx
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counting import count
from igc.ops.macs import op_macs

NAMES = sorted(ZOO)
QUICK = {"resnet18", "vit-split"}


def graph_macs(program: torch.export.ExportedProgram) -> int:
    """MACs of an exported graph at its example's batch; fails on a node whose cost is not known."""
    total = 0
    for node in program.graph.nodes:
        if node.op == "call_function":
            args = fx.map_arg(node.args, lambda arg: arg.meta["val"])
            macs = op_macs(node.target, args, node.meta["val"])
            assert macs is not None, f"{node.target} is in no table of igc.ops.macs"
            total += macs if isinstance(macs, int) else macs.node.hint
    return total


@pytest.mark.parametrize("name", slow_but(QUICK | {"vgg16", "mtan-os32", "psp"}, NAMES))
def test_count_is_half_of_what_pytorch_counts(name: str) -> None:
    network, x = build(name, "meta"), pictures(2, "meta")
    cost = count(network, x)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert 2 * cost.macs == counter.get_total_flops() > 0
    assert cost.flops == 2 * cost.macs
    assert cost.uncounted == ()
    assert cost.params == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", slow_but(QUICK | {"vgg16", "mtan-os32", "psp"}, NAMES))
def test_symbolic_trace_computes_the_same(name: str) -> None:
    network = build(name).double()
    traced = fx.symbolic_trace(network)
    for batch in (1, 3):
        x = pictures(batch).double()
        with torch.no_grad():
            assert_close(traced(x), network(x), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(QUICK), "dpt", "mtan-os32", "nddr"])
def test_export_with_a_dynamic_batch_computes_and_costs_the_same(name: str) -> None:
    """The others are captured, which is the same, in tests/onnx_files/test_onnx_costs.py."""
    network = build(name).double()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (pictures(2).double(),), dynamic_shapes=shapes)
    assert graph_macs(program) == count(network, pictures(2).double()).macs
    x = pictures(3).double()
    with torch.no_grad():
        assert_close(program.module()(x), network(x), rtol=1e-12, atol=1e-12)
