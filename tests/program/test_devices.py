"""Programs are on one device, whatever device the network names; the meta device stands in here."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from igc.capture import capture
from igc.program import Program
from igc.program.devices import beside, device_of, on_cpu, placed
from igc.program.execute import execute

META = torch.device("meta")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)) + torch.arange(3, device=x.device)


def elsewhere(program: Program, device: str) -> Program:
    """The program as a network on another device would have it: calls name that device."""
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        new = env[node] = graph.node_copy(node, env.__getitem__)
        if "device" in new.kwargs:
            new.kwargs = {**new.kwargs, "device": torch.device(device)}
    return replace(program, graph=graph)


def test_device_arguments_become_the_cpu() -> None:
    x = torch.randn(2, 3)
    program = capture(Tied(), x)
    away = elsewhere(program, "cuda:1")
    assert str(away.graph) != str(program.graph)
    (want,), (have,) = execute(program, (x,)), execute(on_cpu(away), (x,))
    assert torch.equal(want, have)
    assert on_cpu(program) is program


def test_tied_tensors_move_as_one() -> None:
    program = capture(Tied(), torch.randn(2, 3))
    moved = placed(program, META)
    assert {t.device for t in moved.constants.values()} == {META}
    weights = [t for n, t in moved.constants.items() if n.endswith("weight")]
    assert len({id(t) for t in weights}) == 1
    biases = [t for n, t in moved.constants.items() if n.endswith("bias")]
    assert len({id(t) for t in biases}) == 2
    assert on_cpu(moved) is moved  # there are no values to fetch


def test_inputs_go_where_the_module_is() -> None:
    x = torch.randn(2, 3)
    assert device_of(nn.ReLU()).type == "cpu"
    assert beside(Tied(), (x,))[0] is x
    assert beside(Tied().to("meta"), (x,))[0] is x  # a module without values computes nothing
