"""Every model of igc.models at a small size: what the tests of this folder run over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from igc.models.aspp import ASPPHead
from igc.models.cross_stitch import CrossStitch
from igc.models.dpt import DPTHead
from igc.models.heads import HRNetHead, LinearHead
from igc.models.hrnet import HRNet
from igc.models.mobilenet import mobilenet_v2
from igc.models.mtan import MTAN
from igc.models.multitask import Branched, SingleTaskNetworks, UniformSharing, split_after
from igc.models.nddr import NDDR
from igc.models.psp import PSPHead
from igc.models.resnet import ResNet, resnet18, resnet34, resnet50
from igc.models.vgg import VGG16
from igc.models.vit import ViT

SIZE = (64, 96)
TASKS = {"seg": 5, "depth": 1, "normals": 3}


def encoder(**options: Any) -> ResNet:
    return resnet18(output_stride=8, width=0.25, **options)


def encoders() -> dict[str, ResNet]:
    return {task: encoder() for task in TASKS}


def heads(inputs: int = 128) -> dict[str, nn.Module]:
    return {task: ASPPHead(inputs, n, width=16, rates=(1, 2, 3)) for task, n in TASKS.items()}


def hrnet() -> HRNet:
    return HRNet((6, 12, 24, 48), (1, 1, 1))


def shared(build: Callable[[], nn.Module], head: Callable[[int], nn.Module]) -> nn.Module:
    return UniformSharing(build(), {task: head(classes) for task, classes in TASKS.items()})


def branched() -> nn.Module:
    trunk, first = split_after(encoder(), 2)
    branches = {"a": first, "b": split_after(encoder(), 2)[1]}
    return Branched(trunk, branches, {"seg": "a", "depth": "b", "normals": "a"}, heads())


def vit(**options: Any) -> ViT:
    return ViT(24, 4, 3, image=SIZE, **options)


def dpt() -> nn.Module:
    encoder = vit(scales=(0, 1, 2, 3), split_qkv=True)
    widths = (8, 16, 24, 32)
    return shared(lambda: encoder, lambda n: DPTHead(24, n, encoder.grid, widths=widths, width=16))


#: Name -> builder. All take pictures (N, 3, *SIZE).
ZOO: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: resnet18(num_classes=7),
    "resnet34": lambda: resnet34(width=0.5, num_classes=7),
    "resnet50": lambda: resnet50(width=0.25, num_classes=7),
    "resnet50-os8": lambda: resnet50(width=0.25, output_stride=8),
    "resnet18-os16-scales": lambda: resnet18(width=0.5, output_stride=16, scales=True),
    "vgg16": lambda: VGG16(7, width=0.25, hidden=32),
    "mobilenet_v2": lambda: mobilenet_v2(width=0.5, num_classes=7),
    "mobilenet_v2-os8": lambda: mobilenet_v2(width=0.35, output_stride=8),
    "vit": lambda: vit(num_classes=7),
    "vit-split": lambda: vit(num_classes=7, split_qkv=True),
    "vit-tokens": vit,
    "dpt": dpt,
    "hrnet": lambda: shared(hrnet, lambda n: HRNetHead((6, 12, 24, 48), n, upsample=4)),
    "aspp": lambda: shared(encoder, lambda n: ASPPHead(128, n, width=16, upsample=8)),
    "psp": lambda: shared(encoder, lambda n: PSPHead(128, n, width=16, upsample=8)),
    "linear": lambda: shared(encoder, lambda n: LinearHead(128, n)),
    "single-task": lambda: SingleTaskNetworks(encoders(), heads()),
    "branched": branched,
    "cross-stitch": lambda: CrossStitch(encoders(), heads()),
    "nddr": lambda: NDDR(encoders(), heads()),
    "nddr-3-stages": lambda: NDDR(encoders(), heads(), stages=(0, 1, 2)),
    "mtan": lambda: MTAN(encoder(), heads()),
    "mtan-os32": lambda: MTAN(resnet18(width=0.25), heads()),
}


def build(name: str, device: str = "cpu") -> nn.Module:
    """A model of the zoo in eval mode, its normalisation statistics away from 0 and 1."""
    with torch.device(device):
        network = ZOO[name]().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network


def pictures(batch: int = 1, device: str = "cpu") -> Tensor:
    return torch.randn(batch, 3, *SIZE, device=device)
