"""Costs against figures worked out by hand."""

from __future__ import annotations

import pytest
import torch
from report_nets import AREA, SIZE, WIDTH, Bottleneck, Gated, picture
from torch import Tensor, fx, nn

from benchmarks.counting import count
from igc.analysis.blocks import kept_blocks, warnings
from igc.analysis.cost import cost, single
from igc.analysis.demand import Route, demand
from igc.capture import capture
from igc.compiler import compile_program
from igc.program import InputSpec, Program
from igc.verification import verify

CHANNEL = 27 * AREA  # MACs of one output channel of a branch
HEAD = WIDTH * 2

aten = torch.ops.aten


def test_gated_network_by_hand(gated: Program) -> None:
    found = cost(gated)
    assert found.input_shapes == ((1, 3, SIZE, SIZE),)
    assert found.macs == 3 * WIDTH * CHANNEL + 2 * HEAD
    assert found.flops == 2 * found.macs
    assert found.params == 3 * WIDTH * 27 + 2 * WIDTH + 2 * (HEAD + 2)
    assert found.buffers == 0
    assert found.bytes == 4 * found.params
    assert found.uncounted == ()


def test_a_program_counts_what_its_module_counts(gated: Program) -> None:
    module = Gated({"seg": [0, 2], "depth": [1]}).eval()
    whole = count(module, picture(1))
    assert (cost(gated).macs, cost(gated).params) == (whole.macs, whole.params)


def test_shares_add_up(gated: Program) -> None:
    for program in (gated, compile_program(gated)[0]):
        found = cost(program)
        for parts in (found.by_tasks(), found.by_layer()):
            assert sum(p.macs for p in parts.values()) == found.macs
            assert sum(p.params for p in parts.values()) == found.params


def test_tasks_of_the_gated_network(gated: Program) -> None:
    parts = cost(gated).by_tasks()
    assert {tasks: p.macs for tasks, p in parts.items() if p.macs} == {
        ("seg", "depth"): WIDTH * CHANNEL,
        ("seg",): WIDTH * CHANNEL + HEAD,
        ("depth",): WIDTH * CHANNEL + HEAD,
    }


def test_tasks_of_the_static_network_are_told_apart_behind_the_join(gated: Program) -> None:
    static, _ = compile_program(gated)
    assert verify(gated, static).passed
    parts = cost(static).by_tasks()
    macs = {tasks: p.macs for tasks, p in parts.items() if p.macs}
    # Shared channels 1, 3 (seg) and 0, 2, 3 (depth): psi is needed whole.
    assert macs == {
        ("seg", "depth"): 4 * CHANNEL,
        ("seg",): 2 * CHANNEL + HEAD,
        ("depth",): 1 * CHANNEL + HEAD,
    }


def test_constants_count_once_and_in_the_program_s_precision() -> None:
    graph = fx.Graph()
    x, w = graph.placeholder("x"), graph.get_attr("w")
    y = graph.call_function(aten.linear.default, (x, w))
    again = graph.get_attr("w")
    graph.output([graph.call_function(aten.linear.default, (y, again))])
    program = Program(
        graph=graph,
        # Held in float64, as folded constants are; emitted in the network's own precision.
        constants={"w": torch.ones(3, 3, dtype=torch.float64)},
        inputs=(InputSpec("x", ("n", 3), torch.float32),),
        outputs=("y",),
        out_spec=torch.utils._pytree.tree_structure(0),
        sizes={"n": 2},
        dtype=torch.float32,
        kinds={"w": torch.float32},
    )
    found = cost(program)
    assert (found.macs, found.params, found.bytes) == (18, 9, 36)
    assert single(program) == {"n": 1}


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("index", torch.tensor([2, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x).index_select(1, self.index)


def test_running_statistics_and_indices_are_no_parameters() -> None:
    found = cost(capture(Normed().eval(), picture()))
    assert (found.params, found.buffers) == (6, 6 + 2)
    assert found.bytes == 4 * 12 + 8 * 2


class Peak(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([x, x, x, x], 1)
        return (wide.relu() + wide).sum(1)


def test_activation_peak_by_hand() -> None:
    found = cost(capture(Peak(), picture()))
    image = 3 * AREA * 4
    # wide, its relu and their sum are alive at once; the picture is no longer.
    assert found.peak_bytes == 3 * 4 * image


class Views(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2).reshape(x.shape[0], -1).relu()


def test_views_are_free() -> None:
    assert cost(capture(Views(), picture())).peak_bytes == 2 * 3 * AREA * 4


def test_demand_goes_through_moves_channel_by_channel() -> None:
    order = ["a", "b", "join", "first", "second"]
    routes = {
        "join": [
            Route("a", (), 1, 1, (0, 1, -1), piece=True),
            Route("b", (), 1, 1, (-1, -1, 0), piece=True),
        ],
        "first": [Route("join", (), 1, 1, (1,))],
        "second": [Route("join", (), 1, 1, (2,))],
    }
    found = demand(order, routes, ["first", "second"])
    assert found["a"] == {0}
    assert found["b"] == {1}
    assert found["join"] == {0, 1}
    routes["second"] = [Route("join")]
    assert demand(order, routes, ["first", "second"])["a"] == {0, 1}


@pytest.mark.parametrize(("opened", "kept"), [([], 0.0), ([0], None), ([0, 1, 2, 3], 1.0)])
def test_one_open_channel_keeps_a_block(opened: list[int], kept: float | None) -> None:
    program = capture(Bottleneck(opened).eval(), picture())
    found = kept_blocks(program)["block"]["seg"]
    first, last = 27 * 32, 32 * WIDTH
    expected = (first + last / 4) / (first + last) if kept is None else kept
    assert found.macs == pytest.approx(expected)
    assert found.open == len(opened) / WIDTH
    told = warnings(program)
    assert bool(told) == (kept is None)
    assert all("one open channel keeps a whole block alive" in t and "'block'" in t for t in told)
