"""Gates that a network writes by itself, without igc: any constant mask per channel is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import igc


class Gated(nn.Module):
    """Two tasks that share the channels in which their masks are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.seg, self.depth = (nn.Conv2d(3, 16, 3, padding=1) for _ in range(3))
        self.heads = nn.ModuleDict({"seg": nn.Conv2d(16, 5, 1), "depth": nn.Conv2d(16, 1, 1)})
        self.register_buffer("seg_mask", (torch.arange(16) < 4).view(16, 1, 1))
        self.register_buffer("depth_mask", (torch.arange(16) % 8 == 0).float().view(16, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        shared, m = self.shared(x), self.depth_mask
        seg = torch.where(self.seg_mask, self.seg(x), shared)
        depth = m * self.depth(x) + (1 - m) * shared
        return {"seg": self.heads["seg"](seg.relu()), "depth": self.heads["depth"](depth.relu())}


net, x = Gated().eval(), torch.randn(1, 3, 32, 32)
static = igc.compile(net, x)
print(static)  # 15, 4 and 2 channels of the three: the rest is never read
print(igc.verify(net, static, x))
