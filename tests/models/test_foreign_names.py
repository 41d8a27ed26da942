"""Against torchvision and timm, where they are installed: same names, same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from igc.models.aspp import ASPPHead
from igc.models.hrnet import hrnet_w18
from igc.models.mobilenet import mobilenet_v2
from igc.models.pretrained import load_pretrained
from igc.models.resnet import resnet18, resnet34, resnet50
from igc.models.vgg import VGG16
from igc.models.vit import vit_small


def same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """Strict loading both ways, and outputs that agree in float64."""
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours, theirs = ours.eval().double(), theirs.eval().double()
    with torch.no_grad():
        assert_close(ours(x.double()), theirs(x.double()), rtol=1e-10, atol=1e-10)


RESNETS = {
    "resnet18": (resnet18, 32),
    "resnet34": (resnet34, 32),
    "resnet50": (resnet50, 32),
    "resnet50-os16": (resnet50, 16),
    "resnet50-os8": (resnet50, 8),
}


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_of_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    kind, stride = RESNETS[name]
    dilate = [False, stride <= 8, stride <= 16]
    options = {"replace_stride_with_dilation": dilate} if stride < 32 else {}
    theirs = getattr(models, name.split("-")[0])(**options)
    same(kind(num_classes=1000, output_stride=stride), theirs, torch.randn(2, 3, 64, 96))


def test_other_models_of_torchvision() -> None:
    models = pytest.importorskip("torchvision").models
    x = torch.randn(2, 3, 64, 96)
    same(mobilenet_v2(num_classes=9), models.mobilenet_v2(num_classes=9), x)
    same(
        mobilenet_v2(num_classes=9, width=0.35),
        models.mobilenet_v2(num_classes=9, width_mult=0.35),
        x,
    )
    same(VGG16(9), models.vgg16(num_classes=9), x)
    theirs = models.segmentation.deeplabv3.DeepLabHead(16, 5, (12, 24, 36))
    same(ASPPHead(16, 5), theirs, torch.randn(2, 16, 9, 11))


@pytest.mark.parametrize("split", [False, True])
def test_vit_of_timm(split: bool) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("vit_small_patch16_224")
    same(vit_small(num_classes=1000, split_qkv=split), theirs, torch.randn(1, 3, 224, 224))


def test_hrnet_of_timm() -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("hrnet_w18").eval().double()
    ours = hrnet_w18(mode="nearest").eval().double()
    load_pretrained(ours, theirs.state_dict())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        stem = theirs.act1(theirs.bn1(theirs.conv1(x)))
        stem = theirs.act2(theirs.bn2(theirs.conv2(stem)))
        assert_close(ours(x), theirs.stages(stem), rtol=1e-10, atol=1e-10)
