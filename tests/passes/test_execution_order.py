"""The order of execution: always a valid one, never a worse one, and the measured peak is real."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import pytest
import torch
from in_text import becomes, stays
from slowness import slow_but
from torch import Tensor, fx, nn

import igc
from igc.analysis.lifetimes import Lifetimes
from igc.capture import capture
from igc.compiler import compilation
from igc.models.resnet_cifar import resnet20
from igc.passes import PIPELINE, Record, run_passes
from igc.passes.order import ORDERS, OrderForMemory
from igc.program import Program
from igc.program.execute import execute
from igc.program.shapes import shapes, single
from igc.testing import architecture, build


class BreadthFirst(nn.Module):
    """Eight branches, each grows before it shrinks; written so that all grow first."""

    def forward(self, x: Tensor) -> Tensor:
        grown = [x.repeat(1, 8, 1, 1) * (i + 1) for i in range(8)]
        return torch.cat([g.amax((1, 2, 3), keepdim=True) for g in grown], 1)


BRANCHES = """
    program(x: f32[1, 4]) f32
      a = mul.Tensor(x, @wide)
      b = mul.Tensor(x, @wide)
      c = sum(a)
      d = sum(b)
      y = add.Tensor(c, d)
      return y=y
      @wide f32[100, 1]
"""
LINES = BRANCHES.strip().splitlines()


def test_a_branch_ends_before_the_next_one_starts() -> None:
    ordered = [LINES[i] for i in (0, 1, 3, 2, 4, 5, 6, 7)]
    becomes(OrderForMemory(), BRANCHES, "\n".join(ordered))


def test_an_order_that_is_as_good_as_any_stays() -> None:
    stays(OrderForMemory(), "\n".join(LINES[i] for i in (0, 1, 3, 2, 4, 5, 6, 7)))


def lifetimes(program: Program) -> Lifetimes:
    return Lifetimes.of(program, shapes(program, single(program)))


def peak(program: Program) -> int:
    return lifetimes(program).peak(list(program.graph.nodes))


def valid(order: list[fx.Node]) -> bool:
    place = {n: i for i, n in enumerate(order)}
    return all(place[o] < place[n] for n in order for o in n.all_input_nodes)


def test_branches_run_one_after_the_other() -> None:
    x = torch.randn(1, 2, 16, 16)
    program = capture(BreadthFirst(), (x,))
    image = 4 * x.numel()
    assert peak(program) >= 8 * 8 * image
    ordered = OrderForMemory()(program, Record())
    assert peak(ordered) <= 3 * 8 * image
    assert all(map(torch.equal, execute(program, (x,)), execute(ordered, (x,))))
    assert OrderForMemory()(ordered, Record()) is ordered


NAMES = ("conv1d", "residual_cnn", "transformer", "multi_scale", "decoder")


@functools.cache
def captured(name: str) -> tuple[Program, tuple[Tensor, ...]]:
    net, inputs = build(architecture(name, tasks=3, seed=5))
    return capture(net, inputs), inputs


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", slow_but({"conv1d"}, NAMES))
def test_every_order_holds_each_node_once_after_its_operands(order: Any, name: str) -> None:
    program, _ = captured(name)
    found = order(program, lifetimes(program))
    assert len(found) == len(program.graph.nodes)
    assert set(found) == set(program.graph.nodes)
    assert valid(found)
    assert not valid(found[::-1])


@pytest.mark.parametrize("name", slow_but({"conv1d"}, NAMES))
def test_never_worse_than_the_order_given(name: str) -> None:
    program, inputs = captured(name)
    before = run_passes(
        program, Record(), tuple(p for p in PIPELINE if p.name != "order for memory")
    )
    after = OrderForMemory()(before, Record())
    assert peak(after) <= peak(before)
    assert all(map(torch.equal, execute(before, inputs), execute(after, inputs)))


@pytest.mark.slow
def test_the_static_network_holds_no_more_than_the_gated_one() -> None:
    torch.manual_seed(0)

    def head() -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

    net = igc.gate(resnet20(0.25), {t: head() for t in "abc"}, at="block").eval()
    for by_task in net.gates.values():
        for gate in by_task.values():
            nn.init.normal_(gate.alpha)
    made = compilation(net, torch.randn(1, 3, 32, 32))
    assert peak(made.program) <= peak(made.gated)


@pytest.mark.parametrize("name", slow_but({"conv1d"}, ("conv1d", "multi_scale")))
def test_the_peak_is_what_running_holds(name: str) -> None:
    """Runs node by node, drops what nothing reads any more, and counts the storages alive."""
    net, inputs = build(architecture(name, tasks=2, seed=3))
    program = compilation(net, inputs).program
    facts = shapes(program, program.sizes)
    found = Lifetimes.of(program, facts)
    for node in program.graph.nodes:
        if node.op == "placeholder":  # the caller holds these
            found.size[node] = 0
    assert found.peak(list(program.graph.nodes)) == _measured(program, inputs)


def _measured(program: Program, inputs: tuple[Tensor, ...]) -> int:
    seen: list[tuple[weakref.ref[Tensor], int, int]] = []
    most = 0

    def count(node: fx.Node, value: Any) -> None:
        nonlocal most
        if node.op == "call_function" and isinstance(value, Tensor):
            storage = value.untyped_storage()
            seen.append((weakref.ref(value), storage.data_ptr(), storage.nbytes()))
            alive = {place: size for ref, place, size in seen if ref() is not None}
            most = max(most, sum(alive.values()))

    execute(program, inputs, visit=count)
    return most
