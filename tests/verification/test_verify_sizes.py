"""At which image sizes two networks are compared: small where large ones would take long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import igc
import igc.analysis.image_sizes as sizes
from igc.analysis.cost import cost
from igc.capture import capture
from igc.errors import BadInput
from igc.program import Program
from igc.verification import verify


class Strided(nn.Module):
    """Down by 4 and up again, joined with the input: sizes have to divide by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, 4)
        self.up = nn.ConvTranspose2d(4, 3, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.up(self.down(x))
        return y


def program(size: int) -> Program:
    return capture(Strided().eval(), (torch.randn(2, 3, size, size),))


def images(found: dict[str, int]) -> set[int]:
    return set(found.values())


def test_the_example_and_its_half() -> None:
    made = program(64)
    batch = next(k for k, v in made.sizes.items() if v == 2)
    found = sizes.image_sizes(made, batch, full=False)
    assert (images(found.main), images(found.other), found.note) == ({64}, {32}, "")


@pytest.mark.parametrize("size", [40, 72])  # 20 is too small; 36 divides by 4, but 18 not
def test_twice_where_a_half_is_not_taken(size: int) -> None:
    made = program(size)
    batch = next(k for k, v in made.sizes.items() if v == 2)
    found = sizes.image_sizes(made, batch, full=False)
    assert images(found.main) == {size}
    assert images(found.other) == ({36} if size == 72 else {80})


def test_too_costly_sizes_are_halved_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(256)
    monkeypatch.setattr(sizes, "BUDGET", cost(made).macs // 4)
    check = verify(made, made)
    assert check.passed
    assert any("128x128 and 64x64, not the example's 256x256" in n for n in check.notes)
    assert {leg.inputs for leg in check.outputs["output"].legs if "float64" in leg.way} == {
        "random 2x3x128x128",
        "random 1x3x128x128 times 30",
        "random 1x3x64x64",
    }
    check = verify(made, made, full=True)
    assert not check.notes
    assert "random 2x3x256x256" in {leg.inputs for leg in check.outputs["output"].legs}


def test_the_last_size_that_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(72)
    monkeypatch.setattr(sizes, "BUDGET", 1)
    batch = next(k for k, v in made.sizes.items() if v == 2)
    found = sizes.image_sizes(made, batch, full=False)
    assert (images(found.main), images(found.other)) == ({36}, {72})


class Fixed(nn.Module):
    """Takes one image size only, as a vision transformer with a position table does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 3, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (x + self.table).mean(1)
        return y


def test_heavy_networks_of_one_size_are_run_on_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    made = capture(Fixed().eval(), (torch.randn(2, 3, 32, 32),))
    monkeypatch.setattr("igc.verification.inputs.HEAVY", -1)
    check = verify(made, made)
    whole = {leg.inputs for leg in check.outputs["output"].legs if "float64" in leg.way}
    assert whole == {"random 2x3x32x32"}
    assert any("few inputs" in n for n in check.notes)
    wrong = replace(made, constants={k: v + 1e-3 for k, v in made.constants.items()})
    assert not verify(made, wrong).passed
    check = verify(made, made, full=True)
    legs = check.outputs["output"].legs
    assert len({leg.inputs for leg in legs if "float64" in leg.way}) == 2


class Positions(nn.Module):
    """A table of positions for sides of up to `rows`: its shapes hold at any size, it does not."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.rows = nn.Embedding(rows, 4)

    def forward(self, x: Tensor) -> Tensor:
        places = self.rows(torch.arange(x.shape[-1]))
        y: Tensor = self.conv(x) + places.t()[:, None, :]
        return y


@pytest.mark.slow
def test_a_size_that_the_reference_does_not_take_is_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Positions(10).eval(), torch.randn(2, 3, 8, 8)
    static = igc.compile(net, (x,))
    igc.export_onnx(static, tmp_path / "net.onnx")
    for reference, candidate in ((net, static), (capture(net, x), str(tmp_path / "net.onnx"))):
        check = verify(reference, candidate)
        assert check.passed, str(check)
        notes = [n for n in check.notes if "was not compared" in n]
        assert {n.split(" was")[0] for n in notes} == {"random 1x3x9x11", "random 1x3x16x16"}
        assert all("out of range" in n for n in notes)
        legs = check.outputs["output"].legs
        assert len({leg.inputs for leg in legs}) > 10
        assert all("x3x8x8" in leg.inputs for leg in legs)
    with pytest.raises(BadInput, match="does not accept inputs"):
        verify(net, static, torch.randn(2, 3, 12, 12))
    other = Positions(10).eval()
    assert not verify(net, other, x).passed
