"""Networks, file surgery and comparisons for the checkpoint tests."""

from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tiny import Tiny
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import igc
from igc.capture import capture
from igc.checkpoint.data import to_data

Saved = tuple[nn.Module, tuple[Tensor, ...], Path]


class Idioms(nn.Module):
    """A foreign CNN: masks in several idioms, buffers of both kinds, nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.bn = nn.BatchNorm2d(8)
        self.deep = nn.ModuleDict({"tasks": nn.Conv2d(8, 8, 1, groups=2)})
        self.program = nn.Linear(8, 5)
        self.register_buffer("mask", torch.arange(8).remainder(2).bool()[:, None, None])
        self.register_buffer("scale", torch.full((8, 1, 1), 0.5), persistent=False)
        self.forgotten = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn(self.conv(x)))
        y = self.deep["tasks"](x)
        z = torch.where(self.mask, y, x * self.scale) + torch.tensor(0.25)
        z = torch.lerp(z, y, self.mask.to(x.dtype))
        z = z.masked_fill(~self.mask, 0.0) + x.masked_fill(self.mask, float("-inf")).clamp(-3, 3)
        up = F.interpolate(z, scale_factor=2, mode="bilinear")
        top, where = z.flatten(2).topk(2)
        return OrderedDict(
            seg=up, head=[self.program(z.mean((2, 3))), (top.cumsum(-1), where)], last={"x": x}
        )


class Attention(nn.Module):
    """A transformer block with a tied projection and a positional constant."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.same = nn.Linear(8, 8), nn.Linear(8, 8)
        self.same.weight = self.up.weight

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(x) + torch.arange(x.shape[1], dtype=x.dtype)[:, None]
        y = x + self.attention(y, y, y, need_weights=False)[0]
        q = y.reshape(y.shape[0], y.shape[1], 2, 4).transpose(1, 2)
        y = y + F.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
        return self.same(F.gelu(self.up(y))) + bias, y.softmax(-1)


def igc_gated() -> nn.Module:
    """A small backbone gated by igc itself, with open and closed gates."""
    backbone = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3, padding=1),
            act=nn.ReLU(),
            body=nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        )
    )
    heads = {t: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)) for t in "ba"}
    net = igc.gate(backbone, heads=heads, at=["act", "body.1"])
    with torch.no_grad():
        for alpha in net.gate_parameters():
            alpha.copy_(torch.randn_like(alpha))
    return net


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "tiny": (Tiny, ((2, 4),)),
    "idioms": (Idioms, ((2, 3, 8, 8),)),
    "attention": (Attention, ((2, 5, 8), (2, 5, 8))),
    "igc.nn": (igc_gated, ((2, 3, 8, 8),)),
}


def made(case: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of `CASES` in evaluation mode with its example inputs."""
    build, shapes = CASES[case]
    return build().to(dtype).eval(), tuple(torch.randn(s).to(dtype) for s in shapes)


def same(a: Any, b: Any) -> bool:
    """Whether two outputs have one structure and the same bits."""
    if pytree.tree_structure(a) != pytree.tree_structure(b):
        return False
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def tiny_data() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The plain data of `Tiny` and its tensors, to be spoilt by a test."""
    net, inputs = made("tiny")
    program = capture(net, inputs)
    return json.loads(json.dumps(to_data(program))), dict(program.constants)


def tiny_file(path: Path) -> Path:
    """A good checkpoint of `Tiny`."""
    net, inputs = made("tiny")
    igc.save(net, path, inputs)
    return path


def rezipped(source: Path, target: Path, changes: Mapping[str, bytes], **options: Any) -> Path:
    """The archive `source` written anew, with other contents for some entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for entry in old.infolist():
            name = entry.filename.partition("/")[2]
            new.writestr(entry.filename, changes.get(name, old.read(entry)))
    return target


def torch_archive(path: Path, pickle: bytes) -> Path:
    """A torch archive around a pickle of one's own making."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", bytes(64))
        archive.writestr("archive/version", b"3\n")
    return path
