"""The precision that an author chose inside forward, by autocast or casts, is part of the function.

The static network has the very roundings of its module: where only channels went, sums in bfloat16
have the same terms in the same order, and the results agree to the bit or to a unit of rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc_cli.main import run as command

BF16 = torch.bfloat16
NARROW = {"bfloat16": BF16, "float16": torch.float16}


class Inside(nn.Module):
    """Gated features, a part of which is computed in another precision."""

    def __init__(self, part: str, dtype: torch.dtype = BF16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.part, self.dtype = part, dtype
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 2)
        self.down, self.up = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 8))
        self.shares = nn.Parameter(torch.randn(2))
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
        gate = torch.tensor([1.0, 0, 1, 0, 1, 0, 0, 1])
        self.register_buffer("gate", gate.view(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = getattr(self, f"in_{self.part}")(x)
        return self.head(y.float().mean((2, 3)))

    def mixed(self, a: Tensor, b: Tensor) -> Tensor:
        return a * self.gate + (1 - self.gate) * b

    def in_convolution(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return torch.tanh(self.a(x)) * self.gate

    def in_norm(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return F.relu(self.norm(self.a(x))) * self.gate

    def in_gates(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return torch.where(self.gate > 0, self.a(x), self.b(x)).sigmoid()

    def in_nested(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            y = self.mixed(self.a(x), self.b(x))
            with torch.autocast("cpu", enabled=False):
                y = self.norm(y.float()) * 0.3
            return y + self.b(y[:, :3])

    def in_weights(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            weight = self.down @ self.up  # rounded before anything reads it
        return F.conv2d(self.a(x), weight.float()[:, :, None, None]) * self.gate

    def in_casts(self, x: Tensor) -> Tensor:
        weight = self.a.weight.to(self.dtype).float()
        return F.conv2d(x.to(self.dtype).float(), weight, padding=1) * self.gate

    def in_shares(self, x: Tensor) -> Tensor:
        share = self.shares.softmax(0).to(self.dtype)
        a, b = self.a(x).to(self.dtype), self.b(x).to(self.dtype)
        return F.gelu(a * share[0] * 0.7 + b * share[1] + 0.3)

    def in_constants(self, x: Tensor) -> Tensor:
        y = self.a(x) * self.gate
        return torch.exp((y + 0.3).to(self.dtype) * 0.7).float() * self.a.bias.view(1, 8, 1, 1)


QUICK = ("norm", "weights")
PARTS = [name.removeprefix("in_") for name in vars(Inside) if name.startswith("in_")]
INPUTS = (torch.randn(2, 3, 8, 8),)


def run(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def close(a: Tensor, b: Tensor, dtype: torch.dtype) -> None:
    """Within a tenth of one rounding of the narrow type: what one that went astray would cost.

    Sums over features and positions make little of the last bit of single products.
    """
    bound = 0.1 * torch.finfo(dtype).eps * float(b.abs().max())
    assert float((a.double() - b.double()).abs().max()) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but({"bfloat16"}, NARROW))
@pytest.mark.parametrize("part", slow_but({"norm", "casts", "shares", "constants"}, PARTS))
def test_a_static_network_rounds_where_its_module_does(part: str, name: str) -> None:
    dtype = NARROW[name]
    net = Inside(part, dtype).eval()
    static = igc.compile(net, INPUTS)
    for batch in (1, 5):
        x = torch.randn(batch, 3, 10, 8)
        close(run(static, x), run(net, x), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("part", slow_but(QUICK, PARTS))
def test_a_network_with_parts_in_bfloat16_is_converted_whole(part: str) -> None:
    net = Inside(part).eval()
    static = igc.compile(net, INPUTS)
    x = torch.randn(3, 3, 8, 8)
    for dtype in (torch.float64, torch.float16, BF16):
        other = copy.deepcopy(static).to(dtype)
        got = run(other, x.to(dtype))
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), run(net, x), atol=0.1, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("part", slow_but({"norm"}, PARTS))
def test_files_of_such_a_network_agree_with_it(part: str, tmp_path: Path) -> None:
    net = Inside(part).eval()
    path, model = tmp_path / "gated.pt", tmp_path / "m.onnx"
    igc.save(net, path, INPUTS)
    static = igc.compile(path)
    igc.export_onnx(static, model)
    x = torch.randn(3, 3, 8, 8)
    expected = run(net, x)
    close(run(igc.load(path), x), expected, BF16)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(model, options)
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        close(torch.from_numpy(got), expected, BF16)
    static.save(tmp_path / "static.pt")
    close(run(igc.load(tmp_path / "static.pt"), x), expected, BF16)
    assert igc.verify(net, static, INPUTS).passed
    assert command(["compile", str(path), "--out", str(model)]) == 0
    # What is rounded between float32 operators in the file is not in the proof's table.
    shown = part in ("weights", "casts")
    assert command(["audit", str(model), "--against", str(path)]) == (0 if shown else 2)


@pytest.mark.slow
def test_autocast_around_igc_is_no_part_of_the_network() -> None:
    """Whoever runs the network under autocast runs the static one so, too."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)
            self.low = nn.Parameter(torch.randn(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            weight = self.low @ self.low.mT
            return self.two(torch.einsum("bi,ij->bj", self.one(x).tanh(), weight))

    net, x = Net().eval(), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=BF16):
        static = igc.compile(net, (x,))
        assert igc.verify(net, static, (x,)).passed
        assert run(static, x).dtype == BF16
    torch.testing.assert_close(run(static, x), run(net, x), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cuda", "decorated", "off"])
def test_autocast_as_repositories_spell_it(kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            if kind == "decorated":
                return self.decorated(x)
            device = "cuda" if kind == "cuda" else "cpu"
            with torch.autocast(device, dtype=torch.float16, enabled=kind == "cuda"):
                return self.two(self.one(x).relu())

        @torch.autocast("cpu", dtype=BF16)
        def decorated(self, x: Tensor) -> Tensor:
            return self.two(self.one(x).relu())

    net, x = Net().eval(), torch.randn(3, 4)
    got, expected = run(igc.compile(net, (x,)), x), run(net, x)
    assert got.dtype == expected.dtype
    close(got, expected, BF16)
