"""Each channel is held to its own size and its own rounding, each output to its own type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.verification import verify
from igc.verification.bounds import own_leg
from igc.verification.channels import by_channel, channel_axis, largest_of
from igc.verification.yardstick import Yardstick, yardstick


def scaled(by: Path, name: str, row: int, factor: float) -> None:
    """Multiplies a row of the only tensor whose name begins so."""
    model = onnx.load(by)
    (found,) = (t for t in model.graph.initializer if t.name.startswith(name))
    value = onnx.numpy_helper.to_array(found).copy()
    value[row] = (value[row].astype(np.float64) * factor).astype(value.dtype)
    found.CopyFrom(onnx.numpy_helper.from_array(value, found.name))
    onnx.save(model, by)


class Unequal(nn.Module):
    """Two channels, one a million times the other."""

    def __init__(self, off: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter[0] *= 1e6
                parameter[1] *= off

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("off", [1.01, 1.0001])
def test_a_small_channel_is_not_hidden_by_a_large_one(off: float, tmp_path: Path) -> None:
    net, path = Unequal().eval(), tmp_path / "net.onnx"
    program = capture(net, X)
    igc.export_onnx(igc.compile(net, X), path)
    assert verify(program, path).passed
    assert verify(program, capture(Unequal().eval(), X)).passed
    scaled(path, "conv.weight", 1, off)
    for other in (path, capture(Unequal(off).eval(), X)):
        check = verify(program, other)
        assert not check.passed
        legs = check.outputs["output"].legs
        assert not any(leg.passed for leg in legs if leg.inputs.startswith("random 2x"))
        assert {leg.channel for leg in legs if not leg.passed} == {1}
        assert any("output 'output', channel 1 (" in f for f in check.failures)


class Cancelling(nn.Module):
    """What large numbers leave when they cancel, beside a channel without any."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = off

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([(x[:, :1] + 1e4) - 1e4, x[:, 1:] * 3 + self.off], 1)


class Regrouped(nn.Module):
    """The same, with the rounding of another order."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([(x[:, :1] - 1e4) + 1e4, x[:, 1:] * 3], 1)


def test_a_channel_that_cancels_has_room_and_gives_its_neighbour_none() -> None:
    program = capture(Cancelling(), X)
    assert verify(program, capture(Regrouped(), X)).passed
    check = verify(program, capture(Cancelling(1e-3), X))
    wrong = [leg for leg in check.outputs["output"].legs if not leg.passed]
    assert {leg.channel for leg in wrong} <= {1, 2}
    assert any("float32" in leg.way for leg in wrong)


class TwoTypes(nn.Module):
    """One output in float16, one in float32."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"half": self.a(x).half(), "single": self.b(x)}


def test_an_output_in_float16_does_not_loosen_one_in_float32(tmp_path: Path) -> None:
    net, path = TwoTypes().eval(), tmp_path / "net.onnx"
    program = capture(net, X)
    igc.export_onnx(igc.compile(net, X), path, simplify=False)
    check = verify(program, path)
    assert check.passed, str(check)
    for name, most in (("half", 3e-2), ("single", 3e-5)):
        legs = [g for g in check.outputs[name].legs if g.inputs.startswith("random 2x")]
        assert all(0 < leg.bound < most * leg.scale for leg in legs)
    scaled(path, "b.weight", 2, 1 + torch.finfo(torch.float16).eps)
    check = verify(program, path)
    assert check.outputs["half"].passed
    assert not check.outputs["single"].passed


def test_a_channel_of_one_element_may_be_hit_exactly_by_luck() -> None:
    """It errs by nothing here; its neighbours tell how much it might have."""
    exact = torch.tensor([[1e-3, 1.0, -2.0, 1.5]], dtype=torch.float64)
    own = (exact + torch.tensor([[0.0, 1e-5, 2e-5, -1e-5]])).float()
    own[0, 0] = exact[0, 0]
    share = torch.tensor([0.5, 0.5, 1.0, 0.8], dtype=torch.float64)
    got = own + torch.tensor([[1e-5, 0.0, 0.0, 0.0]])
    alone = yardstick(own, exact)
    assert not own_leg("y", "way", "inputs", alone, got).passed
    usual = Yardstick(own, alone.error, exact, share=share)
    assert own_leg("y", "way", "inputs", usual, got).passed
    assert not own_leg("y", "way", "inputs", usual, own * 1.01).passed


def test_channels_are_an_axis_of_fixed_size() -> None:
    assert channel_axis([(2, 3, 8, 8), (2, 3, 9, 11)]) == 1
    assert channel_axis([(2, 64, 5), (2, 99, 5)]) == 2
    assert channel_axis([(2, 64), (2, 99)]) is None
    assert channel_axis([(2,), (2,)]) is None
    assert channel_axis([(2, 3), (2, 3, 1)]) is None
    value = torch.tensor([[1.0, -5.0], [float("nan"), 2.0]])
    assert largest_of(value, 1).tolist() == [1.0, 5.0]
    assert largest_of(value, None).tolist() == [5.0]
    assert by_channel(value, 1).shape == (2, 2)


class Exponent(nn.Module):
    """Overflows for raw pixels, by rounding for some."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x * 0.35).sum((2, 3))


class Standardised(nn.Module):
    """Divides by the spread, which constant pictures do not have."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv((x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True))
        return y


class Averaged(nn.Module):
    """One image size: constant pictures are averaged over many pixels, which does not cancel."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Parameter(torch.zeros(1, 1, 112, 112))
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4) if norm else nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(torch.relu(self.norm(self.conv(x + self.table))))
        return y


class Decided(nn.Module):
    """Places of extremes, which a constant picture leaves to rounding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        return {"where": y.flatten(2).argmax(2), "what": y.argmax(1), "sorted": y.sort(1)[1]}


class Normed(nn.Module):
    """Softmax, sigmoid and norms over what may be constant or large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True)
        self.heads = nn.ModuleDict({k: nn.Conv2d(8, 5, 1) for k in "abc"})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.norm(self.conv(x)))
        return {
            "a": torch.softmax(self.heads["a"](y), 1),
            "b": torch.sigmoid(self.heads["b"](x.mean() + y)),
            "c": nn.functional.normalize(self.heads["c"](y), dim=1),
        }


HONEST = {
    "exponent": (Exponent, 8), "standardised": (Standardised, 8), "decided": (Decided, 8),
    "normed": (Normed, 16), "averaged": (lambda: Averaged(False), 112),
    "averaged after a norm": (lambda: Averaged(True), 112),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_honest_networks_pass_on_every_draw(name: str, tmp_path: Path) -> None:
    make, size = HONEST[name]
    net, x = make().eval(), torch.randn(2, 3, size, size)
    program, path = capture(net, x), tmp_path / "net.onnx"
    static = igc.compile(net, x)
    igc.export_onnx(static, path)
    for candidate in (static, path):
        check = verify(program, candidate)
        assert check.passed, str(check)
