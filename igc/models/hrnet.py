"""HRNet-W18 (HRNetV2): parallel branches at 1/4, 1/8, 1/16 and 1/32 of the input's resolution.

Source: Wang et al., "Deep high-resolution representation learning for visual recognition" (2020),
with the parameter names of its repository (timm uses the same).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from igc.models.resnet import BasicBlock, Bottleneck, conv_bn


def _down(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution that halves the resolution, BatchNorm, ReLU."""
    return nn.Sequential(*conv_bn(inputs, outputs, 3, 2), nn.ReLU())


def _fuse(inputs: int, outputs: int, source: int, target: int) -> nn.Module:
    """What branch ``source`` passes through on its way into branch ``target``."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_bn(inputs, outputs, 1)  # enlarged to the target's size afterwards
    steps: list[nn.Module] = [_down(inputs, inputs) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv_bn(inputs, outputs, 3, 2))


class HighResolutionModule(nn.Module):
    """Four basic blocks on every branch, then every branch receives the sum of all of them."""

    def __init__(self, widths: Sequence[int], mode: str, depth: int = 4) -> None:
        super().__init__()
        self.mode = mode
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(depth))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse(w, width, j, i) for j, w in enumerate(widths))
            for i, width in enumerate(widths)
        )
        self.relu = nn.ReLU()

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        scales = [branch(x) for branch, x in zip(self.branches, scales, strict=True)]
        fused = []
        for i, row in enumerate(self.fuse_layers):
            size = scales[i].shape[-2:]
            total: Tensor | None = None
            for j, layer in enumerate(row.children()):
                x = layer(scales[j])
                if j > i:
                    x = F.interpolate(x, size=size, mode=self.mode)
                total = x if total is None else total + x
            fused.append(self.relu(total))
        return fused


class HRNet(nn.Module):
    """Images (N, 3, H, W) to four scales (N, widths[k], H / 2^(k+2), W / 2^(k+2)), finest first.

    ``modules`` are the numbers of high-resolution modules in stages 2, 3 and 4; ``mode`` is how
    coarse branches are enlarged: "bilinear" for dense prediction, "nearest" as trained on ImageNet.
    """

    def __init__(
        self,
        widths: Sequence[int] = (18, 36, 72, 144),
        modules: Sequence[int] = (1, 4, 3),
        *,
        mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        first = nn.Sequential(*conv_bn(256, widths[0], 3), nn.ReLU())
        self.transition1 = nn.ModuleList([first, nn.Sequential(_down(256, widths[1]))])
        self.transition2 = self._transition(widths, 2)
        self.transition3 = self._transition(widths, 3)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(HighResolutionModule(widths[:branches], mode) for _ in range(count)))
            for branches, count in zip((2, 3, 4), modules, strict=True)
        )
        self.widths = list(widths)

    @staticmethod
    def _transition(widths: Sequence[int], branches: int) -> nn.ModuleList:
        """The old branches unchanged, and a new one at half the last one's resolution."""
        new = nn.Sequential(_down(widths[branches - 1], widths[branches]))
        return nn.ModuleList([*(nn.Identity() for _ in range(branches)), new])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))
        scales: list[Tensor] = self.stage2([layer(x) for layer in self.transition1])
        for transition, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            # The new branch, the last of them, starts from the coarsest old one.
            sources = [*scales, scales[-1]]
            scales = stage([layer(s) for layer, s in zip(transition, sources, strict=True)])
        return scales


def hrnet_w18(*, mode: str = "bilinear") -> HRNet:
    """HRNet-W18: branches of 18, 36, 72 and 144 channels, 1, 4 and 3 modules per stage."""
    return HRNet(mode=mode)
