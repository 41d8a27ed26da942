"""`squeeze()` drops whatever axis has the size 1: such sizes are fixed, others stay open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.program.fixed import fixed_axes
from igc_cli.main import run

Call = Callable[[Tensor], Tensor]
#: What is squeezed, the shape of the example, and the dims of the program's input.
CASES: dict[str, tuple[Call, tuple[int, ...], tuple[int | str, ...]]] = {
    "of a batch": (
        lambda y: F.adaptive_avg_pool2d(y, 1).squeeze(), (2, 3, 8, 8), (2, 3, "height", "width")
    ),
    "of a batch of one": (
        lambda y: F.adaptive_avg_pool2d(y, 1).squeeze(), (1, 3, 8, 8), (1, 3, "height", "width")
    ),
    "torch.squeeze": (
        lambda y: torch.squeeze(y.mean((2, 3), keepdim=True)), (3, 3, 8, 8),
        (3, 3, "height", "width"),
    ),
    "in place": (
        lambda y: y.mean((2, 3), keepdim=True).clone().squeeze_(), (2, 3, 8, 8),
        (2, 3, "height", "width"),
    ),
    "of axes that stay": (
        lambda y: y.mean((2, 3), keepdim=True).squeeze((2, 3)), (2, 3, 8, 8),
        ("batch", 3, "height", "width"),
    ),
    "of a width": (lambda y: y.squeeze(3).mean(2), (2, 3, 8, 8), ("batch", 3, "height", 8)),
    "of the batch by name": (
        lambda y: y.squeeze(0).mean((-1, -2)), (2, 3, 8, 8), (2, 3, "height", "width")
    ),
    "of everything": (lambda y: y[:, :1].squeeze().flatten(1), (2, 3, 8, 8), (2, 3, 8, 8)),
}  # fmt: skip


class Net(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.call = nn.Conv2d(3, 8, 3, padding=1), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.a(x)) * 2


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_sizes_that_a_squeeze_asks_for_are_fixed(case: str) -> None:
    call, shape, dims = CASES[case]
    net, x = Net(call).eval(), torch.randn(shape)
    program = capture(net, (x,))
    assert program.inputs[0].dims == dims
    static = igc.compile(net, (x,))
    sizes = [shape]
    if "height" in dims:
        sizes += [(*shape[:2], 6, 9 if "width" in dims else 8)]
    if "batch" in dims:
        sizes += [(1, *shape[1:]), (5, *shape[1:])]
    for size in sizes:
        x = torch.randn(size)
        got, expected = static(x), net(x)
        assert got.shape == expected.shape
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    assert igc.verify(net, static).passed


@pytest.mark.slow
def test_it_is_told_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net(CASES["of a batch"][0]).eval()
    (fixed,) = fixed_axes(capture(net, (torch.randn(2, 3, 8, 8),)))
    for part in ("input 'x' has to have 2 at axis 0", "squeeze()", "name the other axes"):
        assert part in str(fixed)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 8, 3)\n"
        "    def forward(self, x):\n"
        "        return self.a(x).mean((2, 3), keepdim=True).squeeze()\n"
    )
    torch.save(nn.ModuleDict({"a": nn.Conv2d(3, 8, 3)}).state_dict(), tmp_path / "w.pt")
    weights, out, model = (str(tmp_path / name) for name in ("w.pt", "m.onnx", "nets.py"))
    asked = ["--model", f"{model}:Net", "--input", "2x3x8x8"]
    assert run(["compile", weights, "--out", out, *asked]) == 0
    assert "input 'x' has to have 2 at axis 0" in capsys.readouterr().out
