"""The networks behind the papers' cost columns, built on meta tensors: shapes, no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.counting import count
from igc.models.aspp import ASPPHead
from igc.models.cross_stitch import CrossStitch
from igc.models.heads import HRNetHead, LinearHead
from igc.models.hrnet import hrnet_w18
from igc.models.mtan import MTAN
from igc.models.multitask import Branched, SingleTaskNetworks, UniformSharing, split_after
from igc.models.nddr import NDDR
from igc.models.psp import PSPHead
from igc.models.resnet import ResNet, resnet18, resnet50
from igc.models.vgg import VGG16

NYUD = {"seg": 40, "depth": 1, "normals": 3}
PASCAL = {"seg": 21, "parts": 7, "saliency": 1, "normals": 3, "edge": 1}
CITYSCAPES = {"seg": 19, "instance": 2, "depth": 1}

#: Image sizes (height, width).
NYUD_SIZE, PASCAL_SIZE = (480, 640), (512, 512)


def image(size: tuple[int, int]) -> Tensor:
    """One picture without data, (1, 3, *size)."""
    return torch.empty(1, 3, *size, device="meta")


def heads(
    kind: Callable[[int, int], nn.Module], inputs: int, tasks: Mapping[str, int]
) -> dict[str, nn.Module]:
    """One head of the given kind per task, reading ``inputs`` channels."""
    return {task: kind(inputs, classes) for task, classes in tasks.items()}


def _encoder50(width: float = 1.0) -> ResNet:
    return resnet50(output_stride=8, width=width)


def _single(build: Callable[[], nn.Module], own: Mapping[str, nn.Module]) -> nn.Module:
    return SingleTaskNetworks({task: build() for task in own}, own)


def nyud_single(width: float = 1.0) -> nn.Module:
    """One ResNet-50 at output stride 8 per task, ASPP heads."""
    return _single(lambda: _encoder50(width), heads(ASPPHead, round(2048 * width), NYUD))


def nyud_shared(width: float = 1.0) -> nn.Module:
    """One ResNet-50 at output stride 8 for all tasks, ASPP heads."""
    return UniformSharing(_encoder50(width), heads(ASPPHead, round(2048 * width), NYUD))


def nyud_mtan() -> nn.Module:
    """The same with task-specific attention."""
    return MTAN(_encoder50(), heads(ASPPHead, 2048, NYUD))


def nyud_cross_stitch() -> nn.Module:
    """One ResNet-50 per task, cross-stitched after every stage."""
    encoders = {task: _encoder50() for task in NYUD}
    return CrossStitch(encoders, heads(ASPPHead, 2048, NYUD))


def pascal_single() -> nn.Module:
    """One ResNet-18 at output stride 8 per task, ASPP heads."""
    return _single(lambda: resnet18(output_stride=8), heads(ASPPHead, 512, PASCAL))


def pascal_shared() -> nn.Module:
    """One ResNet-18 at output stride 8 for all tasks, ASPP heads."""
    return UniformSharing(resnet18(output_stride=8), heads(ASPPHead, 512, PASCAL))


def pascal_mtan() -> nn.Module:
    """The same with task-specific attention."""
    return MTAN(resnet18(output_stride=8), heads(ASPPHead, 512, PASCAL))


def _hrnet_heads() -> dict[str, nn.Module]:
    widths = hrnet_w18().widths
    return {task: HRNetHead(widths, classes) for task, classes in NYUD.items()}


def hrnet_single() -> nn.Module:
    """One HRNet-W18 per task."""
    return _single(hrnet_w18, _hrnet_heads())


def hrnet_shared() -> nn.Module:
    """One HRNet-W18 for all tasks."""
    return UniformSharing(hrnet_w18(), _hrnet_heads())


def _city_heads() -> dict[str, nn.Module]:
    return heads(PSPHead, 2048, CITYSCAPES)


def city_single() -> nn.Module:
    """One ResNet-50 per task, PSP heads."""
    return _single(_encoder50, _city_heads())


def city_shared() -> nn.Module:
    """One ResNet-50 for all tasks, PSP heads."""
    return UniformSharing(_encoder50(), _city_heads())


def city_branched(shared_stages: int) -> nn.Module:
    """Two tasks stay on the trunk's own branch, the third gets one copy of the later stages."""
    trunk, first = split_after(_encoder50(), shared_stages)
    _, second = split_after(_encoder50(), shared_stages)
    branch_of = {"seg": "first", "instance": "first", "depth": "second"}
    return Branched(trunk, {"first": first, "second": second}, branch_of, _city_heads())


def city_mtan() -> nn.Module:
    """The same with task-specific attention."""
    return MTAN(_encoder50(), _city_heads())


def city_cross_stitch() -> nn.Module:
    """One ResNet-50 per task, cross-stitched after every stage."""
    return CrossStitch({task: _encoder50() for task in CITYSCAPES}, _city_heads())


def city_nddr() -> nn.Module:
    """One ResNet-50 per task, fused by 1x1 convolutions after every stage."""
    return NDDR({task: _encoder50() for task in CITYSCAPES}, _city_heads())


def celeba_vgg() -> nn.Module:
    """VGG-16 with 40 outputs."""
    return VGG16(40)


def celeba_resnet() -> nn.Module:
    """One ResNet-18 with 40 linear heads."""
    return UniformSharing(resnet18(), {f"attribute{k}": LinearHead(512, 1) for k in range(40)})


def _build(build: Callable[..., nn.Module], args: tuple[float, ...]) -> nn.Module:
    with torch.device("meta"):
        return build(*args)


@cache
def macs(build: Callable[..., nn.Module], size: tuple[int, int], *args: float) -> int:
    """The MACs of ``build(*args)`` on one picture of the given size; counted once per process."""
    return count(_build(build, args), image(size)).macs


@cache
def params(build: Callable[..., nn.Module], *args: float) -> int:
    """The parameters of ``build(*args)``, normalisation and biases included."""
    return sum(parameter.numel() for parameter in _build(build, args).parameters())


@cache
def weights(build: Callable[..., nn.Module]) -> int:
    """The weights of convolutions and linears alone: biases and normalisation left out."""
    parameters = _build(build, ()).parameters()
    return sum(parameter.numel() for parameter in parameters if parameter.dim() > 1)


def cross_stitch_products(size: tuple[int, int], tasks: int = 3) -> int:
    """The multiply-adds of stitching ResNet-50 features at output stride 8: T x T per element.

    They are elementwise, which igc's cost model counts as zero; the papers count them.
    """
    with torch.device("meta"):
        features = resnet50(output_stride=8, scales=True)(image(size))
    return sum(tasks * tasks * scale.numel() for scale in features)
