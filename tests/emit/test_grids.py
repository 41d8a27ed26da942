"""Sampling at places that the network computes: cut channel by channel, and written to ONNX."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from torch import Tensor, nn

import igc


class Sampling(nn.Module):
    """A spatial transformer whose sampled features lose two of six channels."""

    def __init__(self, rank: int, mode: str, padding: str, aligned: bool) -> None:
        super().__init__()
        conv = nn.Conv3d if rank == 3 else nn.Conv2d
        self.first, self.last = conv(3, 6, 3, padding=1), conv(6, 4, 1)
        self.moves = nn.Linear(3, rank * (rank + 1))
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1, 0, 1]).view(6, *[1] * rank))
        self.options = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
        self.rank = rank

    def forward(self, x: Tensor) -> Tensor:
        theta = self.moves(x.flatten(2).mean(2)).view(-1, self.rank, self.rank + 1)
        features = self.first(x)
        aligned = self.options["align_corners"]
        places = F.affine_grid(theta, features.shape, align_corners=aligned)
        y: Tensor = self.last(F.grid_sample(features, places, **self.options) * self.mask)
        return y


@pytest.mark.parametrize(
    ("rank", "mode", "padding", "aligned"),
    [
        pytest.param(2, "bilinear", "zeros", False, marks=pytest.mark.slow),
        pytest.param(2, "nearest", "border", True, marks=pytest.mark.slow),
        pytest.param(2, "bicubic", "reflection", False, marks=pytest.mark.slow),
        (3, "bilinear", "zeros", True),
    ],
)
def test_sampled_channels_are_cut(
    rank: int, mode: str, padding: str, aligned: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = Sampling(rank, mode, padding, aligned).eval()
    x = torch.randn(2, 3, *(8, 6, 4)[:rank])
    made = compiled(net, (x,))
    assert not [r for r in made.record.remarks if r.kind == "opaque"]
    kernels = sorted(v.shape[:2] for v in made.static.state_dict().values() if v.ndim == rank + 2)
    assert kernels == [(4, 3), (4, 4)]
    assert igc.verify(net, made, x).passed
    assert igc.export_onnx(made.static, tmp_path / "net.onnx").route == "direct"
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed, str(check)
