"""Sizes that are equal at whole multiples of the example are told apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.program.execute import execute
from igc.program.shapes import at_points

HALVES: dict[str, Callable[[Tensor], Tensor]] = {
    "halves": lambda y: torch.cat([y[:, :, : y.shape[2] // 2], y[:, :, y.shape[2] // 2 :]], 2),
    "even": lambda y: y[:, :, : y.shape[2] // 2 * 2, : y.shape[3] // 4 * 4],
    "rounded up": lambda y: torch.nn.functional.interpolate(
        y, size=((y.shape[2] + 3) // 4 * 4, (y.shape[3] + 1) // 2 * 2)
    ),
    "chunks": lambda y: torch.cat(y.chunk(2, 3)[::-1], 3),
    "two crops": lambda y: torch.cat(
        [y[:, :, : y.shape[2] // 2], y[:, :, : (y.shape[2] + 1) // 2]], 2
    ),
    "parts": lambda y: torch.cat(y.tensor_split(3, 3)[::-1], 3),
    "split": lambda y: torch.cat(y.split([y.shape[2] - 3, 3], 2)[::-1], 2),
    "split by a size": lambda y: torch.cat(y.split((y.shape[3] + 1) // 2, 3)[::-1], 3),
}


class Net(nn.Module):
    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.part, self.own, self.shared = part, nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)
        self.register_buffer("open", torch.tensor([1.0, 0, 1, 0]).view(4, 1, 1))
        self.register_buffer("keep", torch.tensor([1.0, 1, 0, 0]).view(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.open * self.own(x) + (1 - self.open) * self.shared(x)
        return self.part(self.keep * y)


@pytest.mark.slow
@pytest.mark.parametrize("name", HALVES)
def test_halves_of_odd_sizes_are_those_of_the_network(name: str) -> None:
    net = Net(HALVES[name]).double().eval()
    x = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    static = igc.compile(net, (x,))
    assert static.to_program().inputs[0].dims == ("batch", 2, "height", "width")
    for size in ((16, 16), (13, 9), (7, 21), (18, 19)):
        y = torch.randn(3, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(static(y), net(y), rtol=0, atol=1e-12)


def test_settings_at_which_a_network_does_not_run_are_left_out() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            b, c, h, w = x.shape
            return x.view(b, c, h // 4, 4, w).mean(3)

    program = capture(Windows(), torch.randn(2, 3, 16, 16))
    assert all(sizes["height"] % 4 == 0 for sizes, _ in at_points(program))
    x = torch.randn(1, 3, 20, 7)
    torch.testing.assert_close(execute(program, [x])[0], Windows()(x))
