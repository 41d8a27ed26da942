"""Pieces without entries, as models make of the class tokens that they do not have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from igc.testing import assert_equal, compile_double


class Tokens(nn.Module):
    """Gated tokens, of which the first `prefix` are left as they are."""

    def __init__(self, prefix: int, axis: int) -> None:
        super().__init__()
        self.own, self.shared, self.out = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1), nn.Linear(6, 4)
        self.alpha = nn.Parameter(torch.tensor([1.0, -1, 1, -1, 0, 2]))
        self.prefix, self.axis = prefix, axis

    def forward(self, x: Tensor) -> Tensor:
        gate = (torch.sigmoid(self.alpha) > 0.5)[:, None, None]
        y = torch.where(gate, self.own(x), self.shared(x)).flatten(2).transpose(1, 2)
        left = y.narrow(self.axis, 0, self.prefix)
        rest = y.narrow(self.axis, self.prefix, y.shape[self.axis] - self.prefix)
        return self.out(torch.cat([left, rest.square(), left], self.axis))


@pytest.mark.parametrize("axis", [1, 2], ids=["tokens", "channels"])
def test_a_piece_without_entries_is_left_out(axis: int) -> None:
    net = Tokens(0, axis).double().eval()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    assert_equal(net, compile_double(net, (x,)), (x,))
