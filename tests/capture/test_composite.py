"""Operations that torch runs as several others are cut through like those; channels made of nothing
are constants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.compiler import compilation
from igc.emit.compilation import Compilation

MASK = torch.tensor([1.0, 0, 1, 1, 0, 1]).view(6, 1, 1)


def likeness(x: Tensor) -> Tensor:
    """Of every channel's rows to their first one."""
    return x * F.cosine_similarity(x, x[:, :, :1], dim=3).unsqueeze(3)


CUT: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine_similarity": likeness,
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "aliases": lambda x: torch.multiply(torch.subtract(x, 1.0), torch.divide(x, 2.0)),
    "matrix norm": lambda x: x / (1 + torch.linalg.norm(x, dim=(2, 3), keepdim=True)),
    "rrelu": F.rrelu,
    "quantile": lambda x: x - x.flatten(2).quantile(0.3, dim=2)[..., None, None],
    "zeros_like": lambda x: x + torch.zeros_like(x) * 2,
    "new_full": lambda x: x * x.new_full(x.shape, 0.5),
    "mean": lambda x: x * x.new_ones(1).mean(),
}


class Net(nn.Module):
    """A convolution whose channels 1 and 4 are masked after `part`."""

    def __init__(self, part: Callable[[Tensor], Tensor], wide: int = 6) -> None:
        super().__init__()
        self.part = part
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(wide, 2, 1)
        self.register_buffer("mask", MASK if wide == 6 else torch.ones(wide, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.part(self.first(x)) * self.mask)
        return y


def kernels(made: Compilation) -> set[tuple[int, ...]]:
    return {tuple(v.shape) for v in made.static.state_dict().values()}


@pytest.mark.parametrize("name", slow_but({"rrelu", "zeros_like", "new_full", "mean"}, CUT))
def test_channels_are_cut_through_them(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Net(CUT[name]).eval(), torch.randn(2, 3, 7, 7)
    made = compiled(net, (x,))
    assert not [r for r in made.record.remarks if r.kind == "opaque"]
    assert (4, 3, 3, 3) in kernels(made)
    assert igc.verify(net, made, x).passed
    assert igc.export_onnx(made.static, tmp_path / "net.onnx").route == "direct"
    assert igc.verify(net, tmp_path / "net.onnx", x).passed


def test_channels_joined_from_zeros_are_not_read(tmp_path: Path) -> None:
    """A shortcut that doubles its channels with zeros, as PyramidNet's."""
    torch.manual_seed(0)
    net = Net(lambda x: torch.cat([x, torch.zeros_like(x)], 1), wide=12).eval()
    x = torch.randn(2, 3, 7, 7)
    made = compiled(net, (x,))
    assert (2, 6, 1, 1) in kernels(made)
    assert igc.verify(net, made, x).passed


def test_only_a_size_is_read_of_what_is_imitated() -> None:
    net = Net(lambda x: x[:, :3] + torch.full_like(x[:, 3:], 0.25), wide=3).eval()
    made = compilation(net, (torch.randn(2, 3, 7, 7),))
    assert (3, 3, 3, 3) in kernels(made)


def test_a_cell_is_cut_through_and_keeps_its_sizes_dynamic() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.cell = nn.Conv2d(3, 6, 1), nn.LSTMCell(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).mean((2, 3))
            y: Tensor = self.cell(h)[0]
            return y

    program = capture(Gated().eval(), torch.randn(2, 3, 7, 7))
    assert len(program.sizes) == 3
    assert not [n for n in program.graph.nodes if "lstm_cell" in str(n.target)]


@pytest.mark.slow
def test_kernels_and_groups_that_the_input_chooses(tmp_path: Path) -> None:
    class Dynamic(nn.Module):
        """A depthwise kernel per image, as one convolution of as many groups as there are maps."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.kernel = nn.Conv2d(3, 6, 1), nn.Linear(6, 54)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            kernel = self.kernel(h.mean((2, 3))).view(-1, 1, 3, 3)
            flat = h.reshape(1, -1, *h.shape[2:])
            return F.conv2d(flat, kernel, padding=1, groups=h.shape[0] * 6).view_as(h)

    torch.manual_seed(0)
    net, x = Dynamic().eval(), torch.randn(2, 3, 7, 7)
    made = compiled(net, (x,))
    assert igc.verify(net, made, x).passed
    with pytest.raises(igc.errors.BadInput, match="conv2d"):
        igc.export_onnx(made.static, tmp_path / "net.onnx")


@pytest.mark.slow
def test_zeros_of_sizes_that_no_input_has() -> None:
    """Two recurrent layers that start from zeros of as many rows as there are images x rows."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.LSTM(3, 4, batch_first=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[3], 3)
            y: Tensor = self.one(rows)[0] + self.two(rows)[0]
            return y

    torch.manual_seed(0)
    net, x = Rows().eval(), torch.randn(2, 3, 5, 4)
    made = compiled(net, (x,))
    assert igc.verify(net, made, x).passed
    assert [r for r in made.record.remarks if r.kind == "opaque" and "lstm" in r.op]
