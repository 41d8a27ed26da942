"""What was a buffer stays one; what is made from nothing follows the network's dtype."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import igc


class Normalised(nn.Module):
    """Takes the mean of the data set off, adds a learned offset and a plain row of thirds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]))
        self.offset = nn.Parameter(torch.tensor([0.4, 0.5, 0.6]))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        thirds = torch.full((x.shape[0], 3), 1 / 3, dtype=x.dtype)
        return {"y": self.head(x - self.mean + self.offset * thirds + torch.ones(x.shape[0], 3))}


def _check(static: nn.Module) -> None:
    shapes = {tuple(p.shape) for p in static.parameters()}
    assert len(list(static.parameters())) == 3 and shapes == {(3,), (2, 3), (2,)}
    assert any(torch.equal(b, torch.tensor([0.1, 0.2, 0.3])) for b in static.buffers())


def test_a_float_buffer_is_not_trained(tmp_path: Path) -> None:
    net, x = Normalised(), torch.randn(2, 3)
    static = igc.compile(net, x)
    _check(static)
    igc.save(net, tmp_path / "gated.pt", x)
    _check(igc.compile(tmp_path / "gated.pt"))
    static.save(tmp_path / "static.pt")
    again = igc.load(tmp_path / "static.pt")
    _check(again)
    assert torch.equal(again(x)["y"], static(x)["y"])


def test_what_is_made_from_nothing_is_made_in_double() -> None:
    net = Normalised()
    static = igc.compile(net, torch.randn(2, 3)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    want = net.double()(x)["y"]
    assert static(x)["y"].dtype == torch.float64
    assert (static(x)["y"] - want).abs().max() <= 1e-10 * want.abs().max()
