"""DPT, the dense prediction transformer: a head that reads four scales of a vision transformer.

Source: Ranftl, Bochkovskiy and Koltun, "Vision transformers for dense prediction" (2021), with the
class token projected into the patches ("project" readout), and names after its repository's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igc.models.heads import enlarge
from igc.models.vit import ViT, vit_base, vit_small


class Reassemble(nn.Module):
    """Tokens (N, 1 + h w, inputs) to a map (N, width, h scale, w scale), scale 4, 2, 1 or 1/2."""

    def __init__(self, inputs: int, width: int, grid: tuple[int, int], scale: float) -> None:
        super().__init__()
        self.grid = grid
        self.readout = nn.Sequential(nn.Linear(2 * inputs, inputs), nn.GELU())
        self.project = nn.Conv2d(inputs, width, 1)
        self.resample: nn.Module = nn.Identity()
        if scale > 1:
            self.resample = nn.ConvTranspose2d(width, width, int(scale), int(scale))
        elif scale < 1:
            self.resample = nn.Conv2d(width, width, 3, round(1 / scale), 1)

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:]
        both = torch.cat([patches, tokens[:, :1].expand_as(patches)], -1)
        features = self.readout(both).transpose(1, 2).unflatten(2, self.grid)
        out: Tensor = self.resample(self.project(features))
        return out


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions behind ReLUs, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.relu(self.conv1(self.relu(x)))) + x
        return out


class Fusion(nn.Module):
    """Adds a finer map to the path from coarser ones and enlarges the sum to ``size``."""

    def __init__(self, width: int, coarsest: bool) -> None:
        super().__init__()
        # The coarsest map is the path's beginning: there is nothing to add to it.
        self.unit1 = None if coarsest else ResidualUnit(width)
        self.unit2 = ResidualUnit(width)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, path: Tensor, finer: Tensor | None, size: Sequence[int]) -> Tensor:
        if self.unit1 is not None:
            path = path + self.unit1(finer)
        x = F.interpolate(self.unit2(path), size=size, mode="bilinear")
        out: Tensor = self.out_conv(x)
        return out


class DPTHead(nn.Module):
    """Four token scales (N, 1 + h w, inputs) to a prediction (N, classes, 16 h, 16 w).

    ``grid`` is (h, w); ``widths`` are the channels of the four reassembled maps, finest first,
    ``width`` those of the fusion. ``upsample`` enlarges the fused map (N, width, 8 h, 8 w) between
    the output convolutions; 2 reaches the resolution of the image.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        grid: tuple[int, int],
        *,
        widths: Sequence[int] = (96, 192, 384, 768),
        width: int = 256,
        upsample: int = 2,
    ) -> None:
        super().__init__()
        steps = zip(widths, (4, 2, 1, 0.5), strict=True)
        self.reassemble = nn.ModuleList(Reassemble(inputs, w, grid, scale) for w, scale in steps)
        self.layer_rn = nn.ModuleList(nn.Conv2d(w, width, 3, 1, 1, bias=False) for w in widths)
        self.refinenet = nn.ModuleList(Fusion(width, coarsest=k == 3) for k in range(4))
        self.conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(width // 2, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, classes, 1)
        self.relu = nn.ReLU()
        self.upsample = upsample

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        maps = []
        for k, (reassemble, conv) in enumerate(zip(self.reassemble, self.layer_rn, strict=True)):
            maps.append(conv(reassemble(scales[k])))
        path = self.refinenet[3](maps[3], None, maps[2].shape[-2:])
        for k in (2, 1):
            path = self.refinenet[k](path, maps[k], maps[k - 1].shape[-2:])
        height, width = maps[0].shape[2], maps[0].shape[3]
        path = self.refinenet[0](path, maps[0], (2 * height, 2 * width))
        x = self.relu(self.conv2(enlarge(self.conv1(path), self.upsample)))
        out: Tensor = self.conv3(x)
        return out


#: The blocks that a DPT reads.
SCALES = (2, 5, 8, 11)


def dpt_small_encoder(image: tuple[int, int] = (480, 640), *, split_qkv: bool = True) -> ViT:
    """The ViT-S/16 encoder of a DPT: images (N, 3, *image) to the tokens of four blocks."""
    return vit_small(image=image, scales=SCALES, split_qkv=split_qkv)


def dpt_base_encoder(image: tuple[int, int] = (480, 640), *, split_qkv: bool = True) -> ViT:
    """The ViT-B/16 encoder of a DPT: images (N, 3, *image) to the tokens of four blocks."""
    return vit_base(image=image, scales=SCALES, split_qkv=split_qkv)
