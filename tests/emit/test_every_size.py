"""Every call that hangs on the size of an image, at sizes that were never drawn.

A small gated network is captured at one size; the static network in float64, and its ONNX file with
graph optimisations off and on, are run at odd, oblong, tiny and doubled ones.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
import torch
from size_cases import CHANNELS, Op, cases
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.compiler import compilation
from igc.errors import BadInput
from igc.onnx_files.session import session
from igc.program import Program
from igc.program.execute import execute

SIZES = (
    (1, 1, 1), (2, 3, 3), (5, 2, 5), (1, 7, 9), (2, 13, 21), (1, 32, 32), (5, 8, 12), (2, 16, 16),
    (1, 24, 5), (1, 7, 1), (2, 1, 6),
)  # fmt: skip
LEVELS = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
QUICK = ("avg 3/2+1 ceil", "sliding")
#: Captured with the size of the example: torch.export finds no other way, or a size is asked in
#: Python. The file has that size, too.
FIXED = (
    "by 1.3 again", "area by 0.5", "area by 1.7", "area by (0.75", "adaptive max (None", "windows",
    "grid", "counted", "sampled", "pad even",
)  # fmt: skip


class Gated(nn.Module):
    """Two branches, a gate, and the call between them and a head."""

    def __init__(self, op: Op, example: Tensor) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.own, self.shared = (nn.Conv2d(3, CHANNELS, 3, padding=1) for _ in range(2))
        self.op = op
        column = (CHANNELS, 1, 1)
        self.register_buffer("open", torch.tensor([1.0, 0, 1, 1, 0, 0, 1, 0]).view(column))
        self.register_buffer("keep", torch.tensor([1.0, 1, 0, 1, 0, 1, 1, 0]).view(column))
        with torch.no_grad():
            found = self.op(self.features(example))
        self.head = (nn.Conv2d if found.ndim == 4 else nn.Conv1d)(found.shape[1], 3, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.keep * (self.open * self.own(x) + (1 - self.open) * self.shared(x))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.op(self.features(x)))
        return found


def takes(dims: tuple[int | str, ...], shape: tuple[int, ...]) -> bool:
    """Whether a program says that it takes such an input."""
    fits = all(isinstance(d, str) or d == n for d, n in zip(dims, shape, strict=True))
    return fits and len(set(zip(dims, shape, strict=True))) == len(set(dims))


def off(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape, f"{tuple(got.shape)} where {tuple(want.shape)} is right"
    return float((got - want).abs().max())


@pytest.mark.parametrize("name", slow_but(QUICK, cases()))
def test_it_is_right_at_every_size_that_it_takes(name: str, tmp_path: Path) -> None:
    captured_at = ((16, 16), (8, 12))[list(cases()).index(name) % 2]
    example = torch.randn(2, 3, *captured_at)
    net = Gated(cases()[name], example).eval()
    exact = copy.deepcopy(net).double()
    made = compilation(net, (example,))
    static, wide = made.static, made.program
    if "sampled" in name:  # its grid is made in the type of the input, which the graph names
        wide = compilation(exact, (example.double(),)).program
    dims = static.to_program().inputs[0].dims
    if not any(part in name for part in FIXED):
        assert {*dims[2:]} == {"height", "width"}
    path = tmp_path / "net.onnx"
    igc.export_onnx(static, path)
    files = [session(path, level) for level in LEVELS]
    for batch, *image in SIZES:
        shape = (batch, 3, *image)
        repeats = "smooth" in name and image[1] == 1 < image[0]  # a fault of torch: one row again
        if takes(dims, shape) and not repeats:
            _check(exact, net, static, wide, files, shape)


def _check(
    exact: nn.Module,
    net: nn.Module,
    static: nn.Module,
    wide: Program,
    files: list[Any],
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(2)
    x = torch.randn(shape)
    with torch.no_grad():
        try:
            want, rounded = exact(x.double()), net(x)
        except RuntimeError:
            return  # too small for the network itself
        if not want.numel():
            return
        scale, error = float(want.abs().max()), off(rounded, want)
        # The same operations on the same numbers, in sums of another order.
        (found,) = execute(wide, [x.double()], dtype=torch.float64)  # nothing is rounded
        assert off(found, want) <= 1e-10 * max(scale, 1.0)
        own = static(x)
    # As verification has it: what the network itself loses, 16 times, and some roundings.
    bound = 16 * error + 32 * torch.finfo(torch.float32).eps * scale
    assert off(own, want) <= bound
    for file in files:
        (got,) = file.run(None, {file.get_inputs()[0].name: x.numpy()})
        assert off(torch.from_numpy(got).double(), want) <= bound


def test_every_case_is_named_once() -> None:
    named = [n for n in cases() if any(part in n for part in FIXED)]
    assert len(named) < len(cases()) / 2
    for part in (*FIXED, *QUICK):
        assert any(part in name for name in cases()), part


@pytest.mark.slow
def test_a_file_of_torch_s_that_is_wrong_at_other_sizes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch writes a pool to half of a height as one with a kernel of two."""
    from igc.emit.onnx.lower import RULES

    monkeypatch.delitem(RULES, "adaptive_avg_pool2d")
    example = torch.randn(2, 3, 16, 16)
    net = Gated(cases()["adaptive half"], example).eval()
    with pytest.raises(
        BadInput, match=r"every size: .*adaptive_avg_pool2d.* s; what torch.*height"
    ):
        igc.export_onnx(igc.compile(net, (example,)), tmp_path / "net.onnx")
