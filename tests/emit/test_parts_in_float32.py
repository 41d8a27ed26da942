"""Networks of one floating type with parts in another: constants keep the type they count as."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from compiled import compiled
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.emit.torch.precision import with_casts
from igc.nn import gate
from igc_cli.main import run


class Parts(nn.Module):
    """One part in float32 between layers in the network's own type."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.stem = nn.Linear(8, 16)
        self.mid = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.batch_norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 5)
        self.register_buffer("rotation", torch.randn(16, 16))
        with torch.no_grad():
            self.norm.weight.add_(0.3 * torch.randn(16))
            self.batch_norm.running_mean.normal_()
            self.batch_norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.stem(x))
        wide = getattr(self, f"in_{self.part}")(features.float())
        y: Tensor = self.head(torch.relu(self.mid(wide.to(x.dtype))))
        return y

    def in_table(self, x: Tensor) -> Tensor:
        return x @ self.rotation.float()

    def in_norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (16,), self.norm.weight.float(), self.norm.bias.float())

    def in_linear(self, x: Tensor) -> Tensor:
        return F.linear(x, self.mid.weight.float(), self.mid.bias.float())

    def in_made(self, x: Tensor) -> Tensor:
        return x @ torch.eye(16).roll(1, 0) + torch.arange(16.0) / 3

    def in_rms(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True)) * (1 + self.norm.weight.float())

    def in_batch_norm(self, x: Tensor) -> Tensor:
        b = self.batch_norm
        y = F.linear(x, self.rotation.float())
        return F.batch_norm(y, b.running_mean.float(), b.running_var.float(), b.weight.float())


PARTS = [name.removeprefix("in_") for name in vars(Parts) if name.startswith("in_")]


# Others differ in what they compute, not in how its type is kept.
QUICK = ("norm", "batch_norm")


def gated(part: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    heads = {"p": nn.Linear(5, 3, dtype=dtype), "q": nn.Linear(5, 2, dtype=dtype)}
    x = torch.randn(2, 8).to(dtype)
    net = gate(Parts(part).to(dtype), heads, at=["stem", "mid"], example_inputs=(x,)).eval()
    with torch.no_grad():
        for alpha in (p for n, p in net.named_parameters() if n.endswith("alpha")):
            alpha.copy_(torch.randn(alpha.shape))
    return net, x


@functools.cache
def in_bfloat16(part: str) -> tuple[igc.StaticNetwork, Tensor]:
    net, x = gated(part, torch.bfloat16)
    return igc.compile(net, (x,)), x


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype", slow_but([torch.bfloat16], [torch.bfloat16, torch.float16, torch.float64])
)
@pytest.mark.parametrize("part", slow_but(QUICK, PARTS))
def test_a_part_in_float32(part: str, dtype: torch.dtype, tmp_path: Path) -> None:
    net, x = gated(part, dtype)
    made = compiled(net, (x,))
    check = igc.verify(net, made, x)
    assert check.passed, str(check)
    igc.export_onnx(made.static, tmp_path / "net.onnx")
    check = igc.verify(net, tmp_path / "net.onnx", x)
    assert check.passed, str(check)
    own = {p.dtype for p in made.static.parameters()}
    assert dtype in own
    assert own <= {dtype, torch.float32}


def test_a_buffer_that_is_wider_than_the_network_is_not_rounded() -> None:
    net, x = gated("table", torch.bfloat16)
    for name, module in net.named_modules():
        if hasattr(module, "rotation"):
            module.rotation = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
        assert "rotation" not in name
    made = compiled(net, (x,))
    tables = [v for v in made.static.state_dict().values() if v.dtype == torch.float32]
    assert tables
    assert not all(torch.equal(v, v.bfloat16().float()) for v in tables)
    assert igc.verify(net, made, x).passed


@pytest.mark.slow
@pytest.mark.parametrize("part", slow_but(QUICK, PARTS))
@pytest.mark.parametrize("convert", [nn.Module.double, nn.Module.half, nn.Module.float])
def test_the_static_network_is_converted_whole(
    convert: Callable[[nn.Module], nn.Module], part: str
) -> None:
    static, x = copy.deepcopy(in_bfloat16(part))
    before = static(x)
    after = convert(static)(x.to(next(static.parameters()).dtype))
    for task, value in before.items():
        torch.testing.assert_close(after[task].float(), value.float(), rtol=0.1, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("part", slow_but({"norm"}, PARTS))
def test_it_is_saved_loaded_compiled_again_and_audited(part: str, tmp_path: Path) -> None:
    net, x = gated(part, torch.bfloat16)
    static = igc.compile(net, (x,))
    static.save(tmp_path / "static.pt")
    again = igc.load(tmp_path / "static.pt")
    assert all(torch.equal(static(x)[t], again(x)[t]) for t in ("p", "q"))
    twice = igc.compile(again, (x,))
    assert all(torch.equal(static(x)[t], twice(x)[t]) for t in ("p", "q"))
    igc.save(net, tmp_path / "net.pt", example_inputs=(x,))
    checkpoint, model = str(tmp_path / "net.pt"), str(tmp_path / "net.onnx")
    assert run(["compile", checkpoint, "--out", model]) == 0
    assert run(["audit", model, "--against", checkpoint]) == 0


def test_casts_are_added_once() -> None:
    net, x = gated("table", torch.bfloat16)
    program = igc.compile(net, (x,)).program
    assert len(with_casts(program).graph.nodes) == len(program.graph.nodes)
