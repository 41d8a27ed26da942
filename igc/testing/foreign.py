"""Gated networks as four other people would write them: each keeps to habits of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing.builder import randomise


def fresh(net: nn.Module, *, share: float = 0.5, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with every parameter random and that share of gates open."""
    generator = torch.Generator().manual_seed(seed)
    randomise(net.modules(), generator)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "alpha" in name:
                p.copy_(share - torch.rand(p.shape, generator=generator))
            elif "beta" in name:
                p.copy_(torch.randn(p.shape, generator=generator))
    return net.eval()


class FusedTransformer(nn.Module):
    """One Linear makes q, k and v; alpha is tasks x 3 x width; class token, learned positions."""

    def __init__(self, tasks: int = 3, width: int = 8, tokens: int = 5, heads: int = 2) -> None:
        super().__init__()
        self.tasks, self.width, self.heads = tasks, width, heads
        self.embed = nn.Linear(4, width)
        self.cls = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(tokens + 1, width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(tasks + 1))
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(tasks + 1))
        self.alpha_qkv = nn.Parameter(torch.zeros(tasks, 3 * width))
        self.alpha_proj = nn.Parameter(torch.zeros(tasks, width))
        self.beta_qkv = nn.Parameter(torch.zeros(3 * width, tasks))
        self.out = nn.ModuleList(nn.Linear(width, 2 + t) for t in range(tasks))

    def attend(self, qkv: Tensor) -> Tensor:
        b, n, _ = qkv.shape
        q, k, v = qkv.reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, self.width)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.embed(x)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], dim=1) + self.positions
        y = self.norm(x)
        open_qkv, open_proj = self.alpha_qkv.sigmoid() > 0.5, self.alpha_proj.sigmoid() > 0.5
        shared = self.qkv[-1](y)
        own = [torch.where(open_qkv[t], self.qkv[t](y), shared) for t in range(self.tasks)]
        mixed = torch.einsum("tbnc,ct->bnc", torch.stack(own), self.beta_qkv.softmax(dim=1))
        shared = self.proj[-1](self.attend(mixed))
        outs = []
        for t in range(self.tasks):
            mine = self.proj[t](self.attend(own[t]))
            outs.append(self.out[t]((x + torch.where(open_proj[t], mine, shared))[:, 0]))
        return outs


class RawWeights(nn.Module):
    """No nn.Linear anywhere: parameters, F.linear, `@`, addmm; gates are `alpha > 0` as numbers."""

    def __init__(self, tasks: int = 2, width: int = 9) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.zeros(tasks + 1, width, 6))
        self.b1 = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(tasks + 1))
        self.w2 = nn.ParameterList(nn.Parameter(torch.zeros(width, 4)) for _ in range(tasks))
        self.b2 = nn.Parameter(torch.zeros(4))
        self.alpha = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(tasks))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        common = F.linear(x, self.w1[0], self.b1[0])
        outs = []
        for t, alpha in enumerate(self.alpha):
            m = (alpha > 0).to(x.dtype)
            own = x @ self.w1[t + 1].t() + self.b1[t + 1]
            value = F.gelu(common + m * (own - common))
            outs.append(torch.addmm(self.b2, value, self.w2[t]))
        return tuple(outs)


class MaskedConvs(nn.Module):
    """Masks are 0/1 buffers saved by a pruning run; a task adds its masked maps to the shared."""

    def __init__(self, tasks: int = 2, width: int = 7) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.own = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in range(tasks))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(tasks))
        self.last = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1) for _ in range(tasks))
        mask = (torch.arange(tasks * width).reshape(tasks, width) % 3 == 0).float()
        self.register_buffer("mask", mask)
        self.mask: Tensor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        shared, outs = self.stem(x), {}
        for t, (conv, norm, last) in enumerate(zip(self.own, self.norms, self.last, strict=True)):
            m = self.mask[t][None, :, None, None]
            value = F.relu(norm(conv(x))).mul(m).add_(shared.relu().mul(1 - m))
            outs[f"t{t}"] = last(value)
        return outs


class TwoInputs(nn.Module):
    """A picture and a word; the gates are Python lists, so the mask is an index by a constant."""

    open_channels = ((0, 3), (1, 2, 4))

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.words = nn.Embedding(11, width)
        self.see = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in range(3))
        self.tell = nn.ModuleList(nn.Linear(width, 3) for _ in range(2))

    def forward(self, picture: Tensor, word: Tensor) -> dict[str, Tensor]:
        seen = [F.silu(conv(picture)) for conv in self.see]
        outs = {}
        for t, name in enumerate(("what", "where")):
            mask = torch.zeros(seen[0].shape[1], dtype=torch.bool)
            mask[list(self.open_channels[t])] = True
            keep = mask[:, None, None]
            value = seen[t + 1].masked_fill(~keep, 0.0) + seen[0].masked_fill(keep, 0.0)
            outs[name] = self.tell[t](value.mean((2, 3)) * self.words(word).tanh())
        return outs


def foreign() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Each network with its example inputs."""
    image = torch.randn(2, 3, 10, 10)
    word = torch.tensor([3, 10])
    return {
        "fused_transformer": (fresh(FusedTransformer()), (torch.randn(2, 5, 4),)),
        "raw_weights": (fresh(RawWeights()), (torch.randn(2, 6),)),
        "masked_convs": (fresh(MaskedConvs()), (image,)),
        "two_inputs": (fresh(TwoInputs()), (image, word)),
    }
