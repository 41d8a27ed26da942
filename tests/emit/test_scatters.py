"""Writes into buffers, bags of rows, weight norms: written directly, in every form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.onnx_files.session import session

pytestmark = pytest.mark.slow  # whole networks, compiled and measured

LINE, SQUARE = torch.tensor([0, 2, 3]), torch.tensor([[0, 2], [3, 1]])


def put(*places: Any, accumulate: bool = False) -> Callable[[Tensor], Tensor]:
    """Values of a result's own shape, written at places of zeros."""

    def write(x: Tensor) -> Tensor:
        held = x * 0.5
        made: Tensor = torch.ops.aten.index_put(
            held, list(places), torch.ops.aten.index(x, list(places)) + 1, accumulate
        )
        return made

    return write


def reduced(how: str, own: bool) -> Callable[[Tensor], Tensor]:
    def write(x: Tensor) -> Tensor:
        index = torch.tensor([0, 1, 1, 3]).view(1, 4, 1, 1).expand(x.shape[0], 4, 5, 5)
        return x.scatter_reduce(1, index, x.flip(1), how, include_self=own)

    return write


TABLE = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
STARTS = torch.tensor([0, 2, 2, 5])


def bag(mode: str, offsets: bool = False, last: bool = False, **more: Any) -> Any:
    """Rows chosen by the signs of the input; the bag between equal starts is empty."""

    def write(x: Tensor) -> Tensor:
        ids = (x.flatten(1)[:, :6] > 0).long() * 3 + 1
        weights = x.flatten(1)[:, :6] if more.get("weighted") else None
        given: dict[str, Any] = {"per_sample_weights": weights, "mode": mode}
        if "padding_idx" in more:
            given["padding_idx"] = more["padding_idx"]
        if offsets:
            given |= {"offsets": STARTS, "include_last_offset": last}
            ids = ids.flatten()
            given["per_sample_weights"] = None if weights is None else weights.flatten()
        return F.embedding_bag(ids, TABLE, **given)

    return write


CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "put behind": put(None, LINE),
    "put square": put(None, SQUARE),
    "put last": put(None, None, None, LINE),
    "put side by side": put(None, LINE, LINE),
    "put broadcast": put(None, None, SQUARE, LINE[:2]),
    "put apart": put(None, LINE, None, LINE),
    "put first and last": put(torch.tensor([0, 0]), None, None, LINE[:2]),
    "put added": put(None, torch.tensor([1, 1, 2]), accumulate=True),
    "put one value": lambda x: torch.ops.aten.index_put(x, [None, LINE], x.sum()),
    **{
        f"{how}{' and its own' if own else ''}": reduced(how, own)
        for how in ("sum", "prod", "amax", "amin")
        for own in (True, False)
    },
    "bag sum": bag("sum"),
    "bag mean": bag("mean"),
    "bag starts": bag("mean", offsets=True),
    "bag last": bag("sum", offsets=True, last=True),
    "bag weighted": bag("sum", weighted=True),
    "bag padding": bag("mean", padding_idx=1),
    "bag padding starts": bag("sum", offsets=True, padding_idx=4),
}


class Net(nn.Module):
    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.part = nn.Conv2d(2, 4, 1), part

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.conv(x))


@pytest.mark.parametrize("name", slow_but(("put behind", "amax", "bag mean"), CASES))
def test_it_is_written_directly(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(CASES[name]).eval()
    static = igc.compile(net, (torch.randn(2, 2, 5, 5),))
    info = igc.export_onnx(static, tmp_path / "net.onnx")
    assert info.route == "direct", info.reason
    file = session(tmp_path / "net.onnx")
    x = torch.randn(2, 2, 5, 5)
    (got,) = file.run(None, {"x": x.numpy()})
    # Single sums of a dozen numbers near 1.
    torch.testing.assert_close(torch.from_numpy(got), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_weight_norm_is_written_directly(dim: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = nn.utils.parametrizations.weight_norm
    net = nn.Sequential(nn.Conv2d(2, 4, 1), norm(nn.Conv2d(4, 3, 3), dim=dim)).eval()
    x = torch.randn(2, 2, 5, 5)
    info = igc.export_onnx(igc.compile(net, (x,)), tmp_path / "net.onnx")
    assert info.route == "direct", info.reason
    (got,) = session(tmp_path / "net.onnx").run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_what_torch_writes_says_why_and_how_long_it_took(tmp_path: Path) -> None:
    net = Net(lambda x: torch.fft.rfft2(x).abs()).eval()
    info = igc.export_onnx(igc.compile(net, (torch.randn(2, 2, 5, 5),)), tmp_path / "net.onnx")
    assert info.route == "torch.onnx.export"
    assert "fft_rfft2" in info.reason and info.reason.endswith(" s")
