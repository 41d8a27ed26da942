"""at=: which features are gated, under which names, and what cannot be gated."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_backbones import Pyramid, Residual, TinyViT, assert_close, heads, scrambled
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn import gate
from igc.nn.gate_points import At


def layers(backbone: nn.Module, at: At, **options: object) -> list[tuple[str, int, int]]:
    """Returns (layer, channels, axis) of every gate point."""
    net = gate(backbone, heads("ab"), at=at, **options)  # type: ignore[arg-type]
    found = [(name, gates["a"].alpha.numel(), gates["a"].axis) for name, gates in net.gates.items()]
    assert list(net.mixes) == [name for name in net.gates if name in net.mixes]
    return found


class Calls(nn.Module):
    """Runs a function of (self, x); its modules come as keywords."""

    def __init__(self, function: object, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)  # type: ignore[operator]


def test_block() -> None:
    assert layers(Residual(), "block") == [("layer1.0", 4, 1), ("layer2.0", 6, 1)]
    assert layers(TinyViT(), "block") == [("add_1", 8, -1), ("add_2", 8, -1)]


def test_layer() -> None:
    assert layers(Residual(), "layer") == [
        ("stem", 4, 1),
        ("layer1.0.conv1", 4, 1),
        ("layer1.0.conv2", 4, 1),
        ("layer2.0.down", 6, 1),
        ("layer2.0.conv1", 6, 1),
        ("layer2.0.conv2", 6, 1),
    ]
    vit = [("patch", 8, 1)] + [(name, 8, -1) for name in ("q", "k", "v", "proj")]
    assert layers(TinyViT(), "layer") == [*vit, ("fc1", 16, -1), ("fc2", 8, -1)]


def test_modules_by_name_and_predicate() -> None:
    assert layers(Residual(), ["layer2", "stem"]) == [("stem", 4, 1), ("layer2", 6, 1)]
    norms = layers(Residual(), lambda name, module: isinstance(module, nn.BatchNorm2d))
    assert [name for name, _, _ in norms] == [f"layer{i}.0.bn{j}" for i in (1, 2) for j in (1, 2)]
    assert layers(Residual(), lambda name, module: name == "layer1.0.relu") == [
        ("layer1.0.relu", 4, 1),
        ("layer1.0.relu_2", 4, 1),
    ]


def test_functional_layers() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = F.batch_norm(F.conv2d(x, self.a.weight), None, None, training=True)
        x = F.conv_transpose2d(torch.relu(x), self.b.weight, groups=2)
        return F.linear(x.mean((2, 3)), self.c.weight).relu_()

    backbone = Calls(
        forward,
        a=nn.Conv2d(3, 4, 1),
        b=nn.ConvTranspose2d(4, 6, 1, groups=2),
        c=nn.Linear(6, 5),
    )
    assert layers(backbone, "layer") == [
        ("conv2d", 4, 1),
        ("conv_transpose2d", 6, 1),
        ("linear", 5, -1),
    ]


def test_blocks_of_one_class_are_gated_with_and_without_a_skip() -> None:
    class Inverted(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
            self.skip = inputs == outputs

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x) if self.skip else self.conv(x)

    backbone = nn.Sequential(Inverted(3, 4), Inverted(4, 4), nn.Sequential(Inverted(4, 6)))
    assert layers(backbone, "block") == [("0", 4, 1), ("1", 4, 1), ("2.0", 6, 1)]


def test_block_without_any_skip_gates_the_top_level_blocks() -> None:
    stage = [nn.Sequential(nn.Conv2d(i, o, 3), nn.ReLU()) for i, o in ((3, 4), (4, 5))]
    assert layers(nn.Sequential(*stage, nn.Flatten()), "block") == [("0", 4, 1), ("1", 5, 1)]
    with pytest.raises(BadInput, match='at="layer"'):
        gate(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), heads("ab"))


def test_a_chain_of_additions_is_one_block() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        total = self.a(x) + self.b(x) + self.c(x)
        size = x.shape[2] + x.shape[3]
        return F.relu(total) * size + self.a.bias.sum()

    backbone = Calls(forward, **{name: nn.Conv2d(3, 4, 1) for name in "abc"})
    assert layers(backbone, "block") == [("relu", 4, 1)]


def test_every_tensor_of_a_list_is_gated() -> None:
    backbone = nn.Sequential(Pyramid())
    assert layers(backbone, ["0"], example_inputs=(torch.ones(1, 3, 8, 8),)) == [
        ("0", 5, 1),
        ("0_2", 5, 1),
    ]


def test_attention_modules_are_gated_as_a_whole() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.fc(self.attention(x, x, x, need_weights=False)[0])

    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    backbone = Calls(forward, attention=attention, fc=nn.Linear(6, 3))
    assert layers(backbone, ["attention", "fc"]) == [("attention", 6, -1), ("fc", 3, -1)]


def test_a_module_called_twice_has_two_gate_points_and_one_weight() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.conv(self.conv(x)) * 2

    net = scrambled(gate(Calls(forward, conv=nn.Conv2d(3, 3, 1)), heads("ab"), at=["conv"]))
    assert list(net.gates) == ["conv", "conv_2"]
    assert list(net.mixes) == ["conv"]
    assert [n for n, _ in net.branches.named_parameters()] == [
        f"{branch}.conv.{name}" for branch in ("shared", "a", "b") for name in ("weight", "bias")
    ]


def test_example_inputs_tell_the_channels() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PixelShuffle(2))
    x = torch.randn(1, 3, 8, 8)
    assert layers(backbone, ["1"], example_inputs=(x,)) == [("1", 2, 1)]
    with pytest.raises(BadInput, match=r"layer '1'.*example_inputs"):
        gate(backbone, heads("ab"), at=["1"])


def test_what_the_output_does_not_need_is_not_built() -> None:
    """Behind the last point there is no shared branch, and what nobody reads is nowhere."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        unread = self.aux(x)  # noqa: F841  # the point of the test
        return self.tail(self.body(x))

    modules = {name: nn.Conv2d(3, 3, 1) for name in ("body", "tail", "aux")}
    net = scrambled(gate(Calls(forward, **modules), heads("ab"), at=["body"]))
    assert {n.split(".")[0] for n, _ in net.branches["a"].named_parameters()} == {"body", "tail"}
    assert {n.split(".")[0] for n, _ in net.branches["shared"].named_parameters()} == {"body"}
    assert not len(net.mixes)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    conv = {b: net.branches[b].body(x) for b in ("shared", "a")}
    mask = net.gates["body"]["a"].mask[:, None, None]
    assert_close(net(x)["a"], net.branches["a"].tail(torch.where(mask, conv["a"], conv["shared"])))
    with pytest.raises(BadInput, match=r"'aux'.*does not reach"):
        gate(Calls(forward, **modules), heads("ab"), at=["aux"])


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("blocks", 'give "block", "layer"'),
        ([], "no feature to gate"),
        (["layer1.0.conv"], "no module of the backbone; did you mean .*layer1.0.conv1"),
        (["layer1.0.down"], "'layer1.0.down'"),
        (lambda name, module: False, "no feature to gate"),
        (3, "list of module names"),
    ],
)
def test_bad_at(at: At, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        gate(Residual(), heads("ab"), at=at)


def test_modules_that_are_kept_whole_cannot_be_gated_inside() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]

    backbone = Calls(forward, attention=nn.MultiheadAttention(6, 2, batch_first=True))
    with pytest.raises(BadInput, match="kept whole"):
        gate(backbone, heads("ab"), at=["attention.out_proj"])


def test_a_feature_without_weights_cannot_be_gated() -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    with pytest.raises(BadInput, match="'0' has no feature"):
        gate(nn.Sequential(Double(), nn.Conv2d(3, 4, 1)), heads("ab"), at=["0"])


def test_layers_that_the_input_does_not_reach_are_no_units() -> None:
    class PositionBias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bias = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(2, 4)
            self.register_buffer("coordinates", torch.randn(5, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.bias(self.coordinates).mean(0)[:, None, None]

    net = gate(PositionBias(), heads("ab"), at="layer")
    assert list(net.gates) == ["conv"]
    with pytest.raises(BadInput, match="'bias' has no feature that depends on the input"):
        gate(PositionBias(), heads("ab"), at=["bias"])
