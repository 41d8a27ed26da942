"""Vision transformers, patch 16: ViT-S and ViT-B.

Source: Dosovitskiy et al., "An image is worth 16x16 words" (2021). Parameter names are timm's, so
its state dicts load strictly, whether or not ``split_qkv`` separates the fused q, k, v projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igc.errors import BadInput


class Attention(nn.Module):
    """Multi-head self-attention over tokens (N, tokens, width).

    With ``split_qkv`` the projections are three linears q, k and v that can be gated one by one;
    a state dict with timm's fused ``qkv`` loads into them all the same.
    """

    def __init__(self, width: int, heads: int, split_qkv: bool) -> None:
        super().__init__()
        self.heads, self.split_qkv = heads, split_qkv
        if split_qkv:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
            self.register_load_state_dict_pre_hook(_split_qkv)  # type: ignore[no-untyped-call]
        else:
            self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.q(x), self.k(x), self.v(x)) if self.split_qkv else self.qkv(x).chunk(3, -1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


def _split_qkv(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for kind in ("weight", "bias"):
        fused = state.pop(f"{prefix}qkv.{kind}", None)
        if fused is not None:
            for name, part in zip("qkv", fused.chunk(3), strict=True):
                state[f"{prefix}{name}.{kind}"] = part


class FeedForward(nn.Module):
    """Two linears with a GELU between them, over the last axis."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int, split_qkv: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, split_qkv)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """Images (N, 3, H, W) to one token per patch, (N, H/patch x W/patch, width)."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class ViT(nn.Module):
    """Images (N, 3, *image) to tokens (N, 1 + patches, width), the class token first.

    The final LayerNorm is applied. ``num_classes`` adds the classifier on the class token (logits
    (N, num_classes)); ``scales`` names blocks whose outputs, each behind the final LayerNorm as in
    DINOv2, are returned as a list instead. ``image`` is (height, width) in pixels: the position
    embedding belongs to one size. Raises ``BadInput`` if it is no multiple of the patch.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        image: tuple[int, int] = (224, 224),
        patch: int = 16,
        num_classes: int | None = None,
        scales: Sequence[int] = (),
        split_qkv: bool = False,
    ) -> None:
        super().__init__()
        if image[0] % patch or image[1] % patch:
            raise BadInput(f"ViT: image {image} must be a multiple of the patch size {patch}")
        self.grid = (image[0] // patch, image[1] // patch)
        self.width, self.scales = width, tuple(scales)
        self.patch_embed = PatchEmbed(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, split_qkv) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes) if num_classes is not None else None

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        patches = self.patch_embed(x)
        token = self.cls_token.expand(patches.shape[0], -1, -1)
        x = torch.cat([token, patches], 1) + self.pos_embed
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        if self.scales:
            return [self.norm(outputs[k]) for k in self.scales]
        x = self.norm(x)
        return x if self.head is None else self.head(x[:, 0])


def gated_layers(vit: ViT) -> list[str]:
    """The names of the linears that InterroGate gates in a transformer (its appendix C).

    q, k, v, the attention output and both feed-forward linears of every block, in the order they
    run; with a fused projection ``qkv`` stands for the three. Pass it on as ``at=`` of a gating.
    """
    names = []
    for index, block in enumerate(vit.blocks.children()):
        split = isinstance(block, Block) and block.attn.split_qkv
        projections = ("attn.q", "attn.k", "attn.v") if split else ("attn.qkv",)
        inner = (*projections, "attn.proj", "mlp.fc1", "mlp.fc2")
        names += [f"blocks.{index}.{name}" for name in inner]
    return names


def vit_small(**options: Any) -> ViT:
    """ViT-S/16: 12 blocks of width 384 with 6 heads; options as ``ViT``."""
    return ViT(384, 12, 6, **options)


def vit_base(**options: Any) -> ViT:
    """ViT-B/16: 12 blocks of width 768 with 12 heads; options as ``ViT``."""
    return ViT(768, 12, 12, **options)
