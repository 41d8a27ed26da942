"""Groups of a convolution may keep the widths that they need, each set of equals on its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from in_text import becomes, stays
from slowness import slow_but
from torch import Tensor, nn

import igc
from igc.compiler import compilation
from igc.passes.split_groups import SplitGroups
from igc.testing.oracle import assert_equal, assert_minimal, kernel_elements
from igc_cli.main import run

GROUPED = """
    program(x: f32[batch=2, 4, 6, 6]) f32
      y = conv2d(x, @conv.weight, @conv.bias, [1, 1], [1, 1], [1, 1], 2)  # conv
      masked = mul.Tensor(y, @mask)
      z = conv2d(masked, @head.weight)
      return z=z
      @conv.weight f32[6, 2, 3, 3]
      @conv.bias f32[6]
      @mask f32[6, 1, 1] 1 1 1 0 1 0
      @head.weight f32[2, 6, 1, 1]
"""


def test_groups_of_unequal_needs_become_convolutions_of_their_own() -> None:
    becomes(
        SplitGroups(),
        GROUPED,
        """
        program(x: f32[batch=2, 4, 6, 6]) f32
          slice_tensor = slice.Tensor(x, 1, 0, 2, 1)             # conv
          y = conv2d(slice_tensor, @conv.weight~1, @conv.bias~1, [1, 1], [1, 1], [1, 1], 1)
          slice_tensor_1 = slice.Tensor(x, 1, 2, 4, 1)           # conv
          y_1 = conv2d(slice_tensor_1, @conv.weight~2, @conv.bias~2, [1, 1], [1, 1], [1, 1], 1)
          cat_default = cat([y, y_1], 1)                         # conv
          masked = mul.Tensor(cat_default, @mask)
          z = conv2d(masked, @head.weight)
          return z=z
          @mask f32[6, 1, 1] 1 1 1 0 1 0
          @head.weight f32[2, 6, 1, 1]
          @conv.weight~1 f32[3, 2, 3, 3]                         # from conv.weight
          @conv.bias~1 f32[3]                                    # from conv.bias
          @conv.weight~2 f32[3, 2, 3, 3]                         # from conv.weight
          @conv.bias~2 f32[3]                                    # from conv.bias
        """,
    )


@pytest.mark.parametrize(
    "source",
    [GROUPED.replace("1 1 1 0 1 0", "1 0 1 0 1 1"), GROUPED.replace("1 1 1 0 1 0", "1 1 1 0 0 0"),
     GROUPED.replace("[1, 1], 2)", "[1, 1], 1)").replace("6, 2, 3, 3", "6, 4, 3, 3")],
    ids=["equal needs", "a dead group", "one group"],
)  # fmt: skip
def test_groups_of_equal_needs_stay_together(source: str) -> None:
    stays(SplitGroups(), source)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "grouped": lambda: nn.Conv2d(32, 48, 3, padding=1, groups=8),
    "no bias, strided": lambda: nn.Conv2d(32, 48, 3, padding=1, groups=4, stride=2, bias=False),
    "depthwise, twice": lambda: nn.Conv2d(32, 64, 3, padding=1, groups=32),
    "transposed": lambda: nn.ConvTranspose2d(32, 48, 2, stride=2, groups=8),
    "a norm behind it": lambda: nn.Sequential(
        nn.Conv2d(32, 48, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(48)
    ),
    "one behind the other": lambda: nn.Sequential(
        nn.Conv2d(32, 32, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.ChannelShuffle(8),
        nn.Conv2d(32, 48, 1, groups=4),
    ),
}


class Net(nn.Module):
    def __init__(self, middle: nn.Module, wide: int) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Conv2d(3, 32, 3), middle, nn.Conv2d(wide, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.relu(self.middle(torch.relu(self.first(x)))))
        return y


def gated(kind: str) -> nn.Module:
    torch.manual_seed(0)
    middle = KINDS[kind]()
    wide = middle(torch.zeros(1, 32, 4, 4)).shape[1]
    net = igc.gate(
        Net(middle, wide), {t: nn.Identity() for t in "ab"}, at="layer",
        example_inputs=(torch.zeros(1, 3, 8, 8),),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("alpha"):
                value.copy_(torch.randn_like(value) - 0.3)
    return net


@pytest.mark.slow
@pytest.mark.parametrize("kind", slow_but({"grouped"}, KINDS))
def test_not_a_weight_more_than_needed(kind: str) -> None:
    net, x = gated(kind).double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    static = igc.compile(net, x, split_groups=True)
    assert_equal(net, static, (x,))
    assert_minimal(net, static, (x,))
    even = igc.compile(net, x)
    assert_equal(net, even, (x,))
    assert kernel_elements(even) > kernel_elements(static)


def test_nothing_changes_where_all_groups_need_the_same() -> None:
    net, x = Net(KINDS["grouped"](), 48).eval(), torch.randn(2, 3, 8, 8)
    one, other = (compilation(net, x, split_groups=split) for split in (False, True))
    assert [n.target for n in one.program.graph.nodes] == [
        n.target for n in other.program.graph.nodes
    ]


@pytest.mark.slow
def test_the_command_writes_verifies_and_certifies_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    igc.save(gated("grouped"), tmp_path / "gated.pt", torch.randn(1, 3, 8, 8))
    found = {}
    for options in ([], ["--split-groups"]):
        out = str(tmp_path / "net.onnx")
        code = run(["compile", str(tmp_path / "gated.pt"), "--out", out, "--json", *options])
        assert code == 0
        found[len(options)] = json.loads(capsys.readouterr().out)
        assert run(["audit", out, "--against", str(tmp_path / "gated.pt")]) == 0
        capsys.readouterr()
    parameters = [found[i]["report"]["total"]["params"] for i in (0, 1)]
    assert parameters[1] < parameters[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grouped", "transposed"])
def test_mixed_and_masked_channels_keep_their_provenance(kind: str, tmp_path: Path) -> None:
    """Coefficients and constants are told by the gated graph, which has no split convolutions."""

    class Masked(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net
            mask = torch.ones(32, 1, 1)
            mask[::5] = 0
            self.register_buffer("mask", mask)
            self.register_buffer("rest", torch.linspace(0, 1, 32).view(32, 1, 1) * (1 - mask))
            self.register_buffer("read", (torch.rand(48, 1, 1) > 0.4).float())

        def forward(self, x: Tensor) -> Tensor:
            first = self.net.first(x) * self.mask + self.rest
            y: Tensor = self.net.last(self.net.middle(first) * self.read)
            return y

    torch.manual_seed(0)
    net, x = Masked(Net(KINDS[kind](), 48)).eval(), torch.randn(2, 3, 8, 8)
    igc.save(net, tmp_path / "net.pt", x)
    out = str(tmp_path / "net.onnx")
    assert run(["compile", str(tmp_path / "net.pt"), "--out", out, "--split-groups"]) == 0
    assert run(["audit", out, "--against", str(tmp_path / "net.pt")]) == 0
