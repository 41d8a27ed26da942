"""A graph held against its module: what rounding explains is no difference, all else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from igc.capture import capture
from igc.capture.running import DoesNotRun, difference
from igc.program import Program


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layers(x)
        return y, y.argmax(-1)


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def program(net: Net) -> Program:
    return capture(net, torch.randn(2, 64))


def test_the_graph_of_a_module_is_the_module(net: Net, program: Program) -> None:
    assert difference(net, program, [torch.randn(7, 64)]) == ""


def test_what_rounding_explains_is_no_difference(net: Net, program: Program) -> None:
    """Weights that are a rounding off give outputs that are several roundings off."""
    name = "layers.2.weight"
    noise = 1 + 1e-7 * torch.randn(program.constants[name].shape)
    moved = {**program.constants, name: program.constants[name] * noise}
    assert difference(net, replace(program, constants=moved), [torch.randn(7, 64)]) == ""


def test_a_ten_thousandth_is_a_difference(net: Net, program: Program) -> None:
    name = "layers.2.bias"
    moved = {**program.constants, name: program.constants[name] + 1e-4}
    text = difference(net, replace(program, constants=moved), [torch.randn(7, 64)])
    assert text.startswith("output 'output_0' differs by 0.0001 of")


def test_another_shape_is_a_difference(net: Net, program: Program) -> None:
    class Flat(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y, best = super().forward(x)
            return y.squeeze(), best.squeeze()

    text = difference(Flat().eval(), program, [torch.randn(1, 64)])
    assert (
        text == "output 'output_0' is 1x3 float32 instead of 3 float32 (a squeeze() without a dim?)"
    )


def test_a_module_that_raises_is_not_compared(net: Net, program: Program) -> None:
    with pytest.raises(DoesNotRun, match="shapes cannot be multiplied"):
        difference(net, program, [torch.randn(7, 65)])


def test_a_graph_that_raises_is_a_difference(net: Net, program: Program) -> None:
    wide = replace(program, constants={**program.constants, "layers.0.weight": torch.ones(64, 65)})
    assert "the graph does not run" in difference(net, wide, [torch.randn(7, 64)])


def test_a_stochastic_module_is_left_to_those_who_know_its_gates(program: Program) -> None:
    class Noisy(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x + torch.randn_like(x))

    assert difference(Noisy().eval(), program, [torch.randn(7, 64)]) == ""
