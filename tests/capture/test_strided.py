"""What reads memory by steps is told as a gather: right in any layout, and open to slicing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from compiled import compiled
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.capture.axes import Example
from igc.errors import BadInput
from igc.program import Program
from igc.program.execute import execute
from igc.testing import assert_minimal

Read = Callable[[Tensor], Tensor]
CHANNELS = 6
IMAGE, LINE = (2, 4, 8, 8), (2, 8, 4)
TOLERANCE = 1e-12  # the same sums in another order, in float64, of values near 1


class Branches(nn.Module):
    """Two branches, a gate between them, `read` behind it, and a head that drops channels."""

    def __init__(self, read: Read, images: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = read
        self.own, self.shared, self.head = (
            nn.Conv2d(i, o, 3, padding=1) if images else nn.Linear(i, o)
            for i, o in ((4, CHANNELS), (4, CHANNELS), (CHANNELS, 3))
        )
        column = (CHANNELS, 1, 1) if images else (CHANNELS,)
        self.register_buffer("open", (torch.arange(CHANNELS) % 2 == 0).float().view(column))
        self.register_buffer("keep", (torch.arange(CHANNELS) % 3 == 0).float().view(column))

    def forward(self, x: Tensor) -> Tensor:
        y = self.open * self.own(x) + (1 - self.open) * self.shared(x)
        found: Tensor = self.head(self.keep * self.read(y))
        return found


def chunks(y: Tensor) -> Tensor:
    """Longformer's windows: each overlaps half of the next."""
    y = y.view(y.shape[0], y.shape[1] // 4, 4, CHANNELS)
    size, step = list(y.size()), list(y.stride())
    size[1], step[1] = size[1] * 2 - 1, step[1] // 2
    return y.as_strided(size, step)


def windows(stride: int) -> Read:
    """Pooling by windows in memory."""

    def read(y: Tensor) -> Tensor:
        (b, c, h, w), (s0, s1, s2, s3) = y.shape, y.stride()
        size = (b, c, (h - 3) // stride + 1, (w - 3) // stride + 1, 3, 3)
        return y.as_strided(size, (s0, s1, s2 * stride, s3 * stride, s2, s3)).mean((-1, -2))

    return read


def whole_rows(y: Tensor) -> Tensor:
    """A permuted view, read in the order of its memory."""
    return y.permute(0, 2, 3, 1).as_strided(y.shape, y.stride())


def part(y: Tensor) -> Tensor:
    """A view that begins within its memory, read beyond its own entries."""
    return y[:, :, 1:].as_strided((y.shape[0], CHANNELS, 4, 8), (y.stride(0), y.stride(1), 16, 1))


def repeated(y: Tensor) -> Tensor:
    """Steps of zero."""
    line = y.as_strided((y.shape[0], CHANNELS, 5), (y.stride(0), y.stride(1), 0), 3)
    return y + line.mean(-1)[..., None, None]


def diagonal(y: Tensor) -> Tensor:
    line = y.as_strided((*y.shape[:2], 3), (y.stride(0), y.stride(1), y.stride(2) + 1))
    return y * line.mean(-1)[..., None, None]


def written(y: Tensor) -> Tensor:
    """Every first pixel of a row is doubled through a view."""
    y = y.clone()
    y.as_strided(y.shape[:3], y.stride()[:3]).mul_(2)
    return y


def scattered(y: Tensor) -> Tensor:
    return torch.as_strided_scatter(y, y[..., 0], y.shape[:3], y.stride()[:3], 1)


def by_steps(y: Tensor) -> Tensor:
    """Steps as numbers."""
    return y * y.stride(1) / y.stride(0) + y.storage_offset()


READS: dict[str, tuple[Read, tuple[int, ...]]] = {
    "chunks": (chunks, LINE),
    "windows": (windows(1), IMAGE),
    "windows apart": (windows(2), IMAGE),
    "whole rows": (whole_rows, IMAGE),
    "a part": (part, IMAGE),
    "repeated": (repeated, IMAGE),
    "diagonal": (diagonal, IMAGE),
    "written": (written, IMAGE),
    "scattered": (scattered, IMAGE),
    "steps": (by_steps, IMAGE),
    "a copy": (lambda y: y + torch.as_strided_copy(y, (1,), (1,), 5), IMAGE),
}
#: Where every channel is read on its own whatever the size of the image, so that they can be cut.
MINIMAL = ("chunks", "windows", "windows apart", "whole rows", "steps")


def differs(net: nn.Module, program: Program, x: Tensor) -> float:
    exact = copy.deepcopy(net).double()
    (got,) = execute(program, [x], dtype=torch.float64)
    return float((exact(x) - got).detach().abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("name", READS)
def test_the_program_reads_the_same_entries_at_every_size(name: str) -> None:
    read, shape = READS[name]
    net = Branches(read, len(shape) == 4).eval()
    program = capture(net, torch.randn(shape))
    assert not [n for n in program.graph.nodes if "strid" in str(n.target)]
    assert program.inputs[0].dims[0] == "batch"
    shapes = [(b, *shape[1:]) for b in (1, 2, 5)]
    if len(shape) == 4:
        assert program.inputs[0].dims[2:] == ("height", "width")
        shapes += [(3, 4, 11, 9), (1, 4, 16, 8)]
    for each in shapes:
        assert differs(net, program, torch.randn(each, dtype=torch.float64)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(("chunks",), READS))
def test_the_static_network_does_too_and_holds_no_more_than_it_needs(
    name: str, tmp_path: Path
) -> None:
    read, shape = READS[name]
    net, x = Branches(read, len(shape) == 4).eval(), torch.randn(shape)
    made = compiled(net, (x,))
    assert igc.verify(net, made, (x,)).passed
    assert igc.export_onnx(made.static, tmp_path / "net.onnx").route == "direct"
    assert igc.verify(net, tmp_path / "net.onnx", (x,)).passed
    if name in MINIMAL:
        exact = copy.deepcopy(net).double()
        assert_minimal(exact, igc.compile(exact, (x.double(),)), (x.double(),))


def layouts(shape: tuple[int, ...]) -> dict[str, Tensor]:
    x = torch.randn(shape)
    return {
        "channels last": x.to(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "batch inside": x.transpose(0, 1).contiguous().transpose(0, 1),
    }


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", layouts((1, 1, 1, 1)))
def test_steps_are_those_of_the_example_s_layout(layout: str, batch: int) -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.as_strided((x.shape[0], 4, 5), (x.stride(0), x.stride(1), 1), 1)

    example = layouts((batch, 4, 8, 6))[layout]
    program = capture(First(), example)
    for size in ((5, 4, 8, 6), (3, 4, 7, 9)):
        x = layouts(size)[layout]
        if batch == 1 and layout == "batch inside":  # of one, it is taken to be outermost
            x = x.contiguous()
        (got,) = execute(program, [x])
        assert torch.equal(First()(x), got)


def test_a_network_in_channels_last_reads_its_own_layout() -> None:
    net = Branches(windows(1), True).eval().to(memory_format=torch.channels_last)
    x = torch.randn(IMAGE).to(memory_format=torch.channels_last)
    static = igc.compile(net, (x,))
    torch.testing.assert_close(static(x), net(x))
    torch.testing.assert_close(static(x.contiguous()), net(x))


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda y: torch.as_strided_scatter(y, y[..., 0], y.shape[:3], (1, 1, 1)), "twice"),
        (lambda y: y.view(torch.int32).to(torch.float32), "bits"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_layer(read: Read, why: str) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Branches(read, True)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner(x)
            return found

    with pytest.raises(BadInput, match=rf"layer 'inner': .*{why}.*; write it with"):
        capture(Outer(), torch.randn(IMAGE))


def test_a_part_of_a_tensor_that_is_not_held_is_refused() -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.as_strided((2, 3), (12, 2))

    example: Example = torch.randn(2, 6, 4)[:, :3]
    with pytest.raises(BadInput, match="as_strided reads memory by its layout, and its operand"):
        capture(First(), example)
