"""ResNet-20: the shapes, names and parameter counts of the paper."""

from __future__ import annotations

import pytest
import torch

from igc.models.resnet_cifar import resnet20


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    return inputs * outputs * kernel * kernel + 2 * outputs  # with its BatchNorm


@pytest.mark.parametrize(("width", "c"), [(1.0, 16), (0.25, 4)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_parameters_are_those_of_the_paper(width: float, c: int, shortcut: str) -> None:
    net = resnet20(width, "A" if shortcut == "A" else "B")
    stages = 6 * conv(c, c) + conv(c, 2 * c) + 5 * conv(2 * c, 2 * c)
    stages += conv(2 * c, 4 * c) + 5 * conv(4 * c, 4 * c)
    projections = conv(c, 2 * c, 1) + conv(2 * c, 4 * c, 1) if shortcut == "B" else 0
    assert sum(p.numel() for p in net.parameters()) == conv(3, c) + stages + projections
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 4 * c, 8, 8)
    assert net.features == 4 * c


def test_parameter_names() -> None:
    names = set(resnet20(0.25, "B").state_dict())
    assert {
        "conv1.weight",
        "bn1.bias",
        "layer1.0.conv1.weight",
        "layer3.2.bn2.running_var",
    } <= names
    assert "layer2.0.downsample.0.weight" in names
    assert not any("downsample" in name for name in resnet20(0.25, "A").state_dict())


def test_shortcut_a_is_every_second_pixel_with_zeros_around_the_channels() -> None:
    block = resnet20(0.25).layer2[0]
    x = torch.randn(1, 4, 8, 8)
    identity = block._identity(x)
    assert torch.equal(identity[:, 2:6], x[:, :, ::2, ::2])
    assert not identity[:, :2].any()
    assert not identity[:, 6:].any()


def test_a_width_of_part_of_a_channel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width 0\.3 gives 4\.8 channels"):
        resnet20(0.3)
