"""An op that is not elementwise is never taken for one: removing a zero channel before it shows."""

from __future__ import annotations

import pytest
import torch
from slowness import slow_but
from torch import Tensor, nn

from igc.errors import BadInput
from igc.testing import assert_equal, compile_double, kernel_elements
from igc.testing.builder import randomise

X = (torch.randn(2, 5, generator=torch.Generator().manual_seed(0)),)

OPS = {
    "cumsum": lambda v: v.cumsum(-1),
    "cumprod": lambda v: v.cumprod(-1),
    "logcumsumexp": lambda v: v.logcumsumexp(-1),
    "cummax": lambda v: v.cummax(-1).values,
    "flip": lambda v: v.flip(-1),
    "roll": lambda v: v.roll(3, -1),
    "roll over everything": lambda v: v.roll(1),
    "sort": lambda v: v.sort(-1).values,
    "topk": lambda v: v.topk(4, dim=-1).values,
    "kthvalue": lambda v: v.kthvalue(3, dim=-1).values[:, None] + v,
    "softmax over the channels": lambda v: v.softmax(-1),
    "diff": lambda v: torch.diff(v, dim=-1),
    "fft": lambda v: torch.fft.rfft(v, dim=-1).abs(),
    "outer": lambda v: (v[:, :, None] * v[:, None, :]).flatten(1),
    "tril": lambda v: torch.tril(v),
    "renorm": lambda v: v / v.norm(dim=-1, keepdim=True).clamp_min(1e-3),
    "unfold": lambda v: v.unfold(-1, 3, 2).flatten(1),
    "repeat": lambda v: v.repeat(1, 2),
    "repeat_interleave": lambda v: v.repeat_interleave(2, dim=-1),
    "cdist": lambda v: torch.cdist(v[:, :, None], v[:, :, None]).flatten(1),
    "matrix_exp": lambda v: torch.linalg.matrix_exp(0.1 * v[:, :, None] * v[:, None, :]).flatten(1),
    "index_add": lambda v: torch.zeros_like(v).index_add(
        1, torch.tensor([1, 1, 0, 3, 2, 2, 5, 4]), v
    ),
    "scatter": lambda v: torch.zeros_like(v).scatter(
        1, torch.tensor([[7, 1, 0, 3, 2, 6, 5, 4]]).expand(v.shape), v
    ),
    "in-place slice": lambda v: _write(v),
    "logsumexp": lambda v: v.logsumexp(-1, keepdim=True) * v,
    "std": lambda v: v / (1 + v.std(-1, keepdim=True)),
    "median": lambda v: v - v.median(-1, keepdim=True).values,
}


def _write(v: Tensor) -> Tensor:
    out = v.clone()
    out[:, 2:5] = v[:, 5:8] * 2
    out[:, 0] += 1
    return out


class Net(nn.Module):
    """A gated layer with some channels exactly zero, then the op, then a head per task."""

    def __init__(self, op, width_after: int) -> None:
        super().__init__()
        self.op = op
        self.shared, self.own = nn.Linear(5, 8), nn.Linear(5, 8)
        self.heads = nn.ModuleList(nn.Linear(width_after, 2) for _ in range(2))
        self.alpha = nn.Parameter(torch.zeros(8))
        randomise(self.modules(), torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.alpha.copy_(torch.tensor([1.0, -1, 1, -1, -1, -1, 1, -1]))
            for layer in (self.shared, self.own):
                layer.weight[[2, 5]] = 0.0
                layer.bias[[2, 5]] = 0.0
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        keep = torch.sigmoid(self.alpha) > 0.5
        shared = self.shared(x)
        values = [torch.where(keep, self.own(x), shared), shared]
        return [head(self.op(v)) for head, v in zip(self.heads, values, strict=True)]


@pytest.mark.parametrize("name", slow_but(("cumsum", "softmax"), OPS))
def test_an_op_that_reads_across_channels(name: str) -> None:
    width = OPS[name](torch.rand(2, 8)).shape[-1]
    net = Net(OPS[name], width)
    static = compile_double(net, X)
    assert_equal(net, static, X, batches=(2, 3))
    assert kernel_elements(static) <= kernel_elements(net)


def test_only_what_the_gate_drops_is_cut_before_an_unknown_op() -> None:
    """The gate is decided before the op, so the dropped rows go even where the op is opaque."""
    net = Net(OPS["cumsum"], 8)
    static = compile_double(net, X)
    assert kernel_elements(static) <= kernel_elements(net) - 5 * 5


class Registered(nn.Module):
    def forward(self, v: Tensor) -> Tensor:
        return torch.ops.igc_trap.reverse_sum(v)


@torch.library.custom_op("igc_trap::reverse_sum", mutates_args=())
def reverse_sum(v: Tensor) -> Tensor:
    """A custom op no table can know."""
    return v.flip(-1).cumsum(-1)


@reverse_sum.register_fake
def _(v: Tensor) -> Tensor:
    return torch.empty_like(v)


def test_a_custom_op_is_kept_whole_or_named() -> None:
    """It may be beyond what igc emits, but then the user is told which op; it is no inner fault."""
    net = Net(Registered(), 8)
    try:
        static = compile_double(net, X)
    except BadInput as error:
        message = str(error)
    else:
        assert_equal(net, static, X)
        return
    assert "reverse_sum" in message
