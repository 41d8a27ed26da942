"""Calls whose result hangs on the size of an image, for `test_every_size.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Op = Callable[[Tensor], Tensor]
CHANNELS = 8


def grid(y: Tensor) -> Tensor:
    """Places of pixels from -1 to 1, as two channels."""
    rows = torch.linspace(-1, 1, y.shape[2], dtype=y.dtype)
    columns = torch.linspace(-1, 1, y.shape[3], dtype=y.dtype)
    both = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([y, both.expand(y.shape[0], -1, -1, -1)], 1)


def counted(y: Tensor) -> Tensor:
    rows = torch.arange(y.shape[2], dtype=y.dtype) / y.shape[2]
    columns = torch.arange(y.shape[3], dtype=y.dtype) / max(y.shape[3] - 1, 1)
    return y * rows[:, None] + columns


def sampled(mode: str, padding: str, aligned: bool) -> Op:
    def op(y: Tensor) -> Tensor:
        theta = torch.tensor([[0.8, 0.3, 0.1], [-0.2, 0.7, -0.2]], dtype=y.dtype)
        places = F.affine_grid(theta.expand(y.shape[0], 2, 3), list(y.shape), align_corners=aligned)
        return F.grid_sample(y, places, mode, padding, align_corners=aligned)

    return op


def unpooled(y: Tensor) -> Tensor:
    values, places = F.max_pool2d(y, 2, return_indices=True)
    return F.max_unpool2d(values, places, 2, output_size=y.shape[2:])


def columns(y: Tensor) -> Tensor:
    """Unfolded and folded again."""
    k = 3
    cols = F.unfold(y, k, padding=1) * 0.5
    return F.fold(cols, y.shape[2:], k, padding=1)


def centre(y: Tensor) -> Tensor:
    h, w = y.shape[2] // 2, y.shape[3] // 2
    top, left = (y.shape[2] - h) // 2, (y.shape[3] - w) // 2
    return y[:, :, top : top + h + 1, left : left + w + 1]


def windows(y: Tensor) -> Tensor:
    """Windows of 4 x 4, padded up to them, turned and put back."""
    b, c, h, w = y.shape
    down, right = (4 - h % 4) % 4, (4 - w % 4) % 4
    y = F.pad(y, (0, right, 0, down))
    high, wide = y.shape[2] // 4, y.shape[3] // 4
    y = y.view(b, c, high, 4, wide, 4).permute(0, 2, 4, 1, 3, 5).flip(-1)
    y = y.permute(0, 3, 1, 4, 2, 5).reshape(b, c, high * 4, wide * 4)
    return y[:, :, :h, :w]


def like(y: Tensor, **keywords: Any) -> Tensor:
    """Pooled by two, then resized to where it came from."""
    small = F.avg_pool2d(y, 2, ceil_mode=True, count_include_pad=False)
    return y + F.interpolate(small, size=y.shape[2:], **keywords)


def resizes() -> dict[str, Op]:
    found: dict[str, Op] = {}
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        corners: tuple[Any, ...] = (False, True) if mode in ("bilinear", "bicubic") else (None,)
        for aligned in corners:
            how = {"mode": mode} | ({} if aligned is None else {"align_corners": aligned})
            name = mode + (" corners" if aligned else "")
            found[f"{name} like"] = partial(like, **how)
            found[f"{name} to 7x5"] = partial(F.interpolate, size=(7, 5), **how)
            for factor in (2, 0.5, 1.7, (0.75, 2.5)):
                found[f"{name} by {factor}"] = partial(F.interpolate, scale_factor=factor, **how)
            found[f"{name} by 1.3 again"] = partial(
                F.interpolate, scale_factor=1.3, recompute_scale_factor=True, **how
            )
    for mode in ("bilinear", "bicubic"):
        for aligned in (False, True):
            how = {"mode": mode, "antialias": True, "align_corners": aligned}
            name = f"{mode} smooth" + (" corners" if aligned else "")
            found[f"{name} to 7x5"] = partial(F.interpolate, size=(7, 5), **how)
            found[f"{name} by 0.5"] = partial(F.interpolate, scale_factor=0.5, **how)
            found[f"{name} like"] = partial(like, **how)
    return found


def pools() -> dict[str, Op]:
    found: dict[str, Op] = {}
    for ceil in (False, True):
        for k, s, p in ((2, 2, 0), (3, 2, 1), (3, 3, 0), (3, 1, 1), (2, 3, 0), (4, 3, 1)):
            name = f"{k}/{s}+{p}" + (" ceil" if ceil else "")
            found[f"max {name}"] = partial(
                F.max_pool2d, kernel_size=k, stride=s, padding=p, ceil_mode=ceil
            )
            for count in (False, True) if p else (True,):
                found[f"avg {name}" + ("" if count else " inside")] = partial(
                    F.avg_pool2d, kernel_size=k, stride=s, padding=p, ceil_mode=ceil,
                    count_include_pad=count,
                )  # fmt: skip
        found[f"lp{' ceil' if ceil else ''}"] = partial(
            F.lp_pool2d, norm_type=2, kernel_size=3, stride=2, ceil_mode=ceil
        )
        found[f"max dilated{' ceil' if ceil else ''}"] = partial(
            F.max_pool2d, kernel_size=2, stride=2, dilation=2, ceil_mode=ceil
        )
    found["avg divisor"] = lambda y: F.avg_pool2d(y, 3, 2, 1, divisor_override=5)
    found["places"] = lambda y: F.max_pool2d(y, 3, 2, 1, return_indices=True)[1].to(y.dtype) / 99
    found["places ceil"] = lambda y: (
        F.max_pool2d(y, 3, 2, ceil_mode=True, return_indices=True)[1].to(y.dtype) / 99
    )
    found["unpooled"] = unpooled
    for size in (1, 2, 3, (5, 4), (None, 2)):
        found[f"adaptive avg {size}"] = partial(F.adaptive_avg_pool2d, output_size=size)
        found[f"adaptive max {size}"] = partial(F.adaptive_max_pool2d, output_size=size)
    found["adaptive half"] = lambda y: F.adaptive_avg_pool2d(
        y, ((y.shape[2] + 1) // 2, (y.shape[3] + 1) // 2)
    )
    return found


def borders() -> dict[str, Op]:
    found: dict[str, Op] = {}
    for mode in ("constant", "reflect", "replicate", "circular"):
        for pads in ((1, 2, 2, 1), (0, 1, 1, 0)):
            found[f"pad {mode} {pads}"] = partial(F.pad, pad=pads, mode=mode)
    found["pad cut"] = lambda y: F.pad(y, (-1, 1, 2, -1))
    found["pad even"] = lambda y: F.pad(y, (0, y.shape[3] % 2, 0, y.shape[2] % 2))
    found["pad square"] = lambda y: F.pad(y, (0, y.shape[2], 0, y.shape[3]), value=0.5)
    return found


def moves() -> dict[str, Op]:
    return {
        "roll": lambda y: torch.roll(y, (1, -2), (2, 3)),
        "roll half": lambda y: torch.roll(y, (y.shape[2] // 2, y.shape[3] // 2), (2, 3)),
        "flip": lambda y: y.flip(3) + y.flip(2),
        "crop": lambda y: y[:, :, 1:-1, : y.shape[3] - 1],
        "centre": centre,
        "every second": lambda y: y[:, :, ::2, 1::2],
        "halves": lambda y: torch.cat(
            [y[:, :, : y.shape[2] // 2], y[:, :, y.shape[2] // 2 :].flip(2)], 2
        ),
        "chunks": lambda y: torch.cat(y.chunk(2, 3)[::-1], 3),
        "focus": lambda y: torch.cat([y[..., ::2, ::2], y[..., 1::2, 1::2]], 1),
        "windows": windows,
        "columns": columns,
        "unfold": lambda y: F.unfold(y, (3, 2), padding=1, stride=2, dilation=(1, 2)),
        "sliding": lambda y: y.unfold(2, 3, 2).mean(-1),
        "sliding twice": lambda y: y.unfold(2, 2, 1).unfold(3, 2, 2).flatten(-2).amax(-1),
        "shuffle": lambda y: F.pixel_shuffle(y, 2),
        "unshuffle": lambda y: F.pixel_unshuffle(y, 2),
        "turned": lambda y: y.transpose(2, 3) * 2,
        "rot90": lambda y: torch.rot90(y, 1, (2, 3)),
        "tokens": lambda y: y.flatten(2).softmax(-1).unflatten(2, (y.shape[2], y.shape[3])),
        "triangle": lambda y: y * torch.ones(
            y.shape[2], y.shape[3], dtype=y.dtype, device=y.device
        ).tril(),
        "cumsum": lambda y: y.cumsum(2) / y.shape[2],
        "tiled": lambda y: y.repeat(1, 1, 2, 3),
        "interleaved": lambda y: y.repeat_interleave(2, 2).repeat_interleave(3, 3),
    }  # fmt: skip


def grids() -> dict[str, Op]:
    found: dict[str, Op] = {"grid": grid, "counted": counted}
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for aligned in (False, True):
                name = f"sampled {mode} {padding}{' corners' if aligned else ''}"
                found[name] = sampled(mode, padding, aligned)
    return found


class Layer(nn.Module):
    """A convolution of the channels behind the gate."""

    def __init__(self, kind: type[nn.Module], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.layer = kind(CHANNELS, CHANNELS, *args, **kwargs)

    def forward(self, y: Tensor) -> Tensor:
        found: Tensor = self.layer(y)
        return found


def convolutions() -> dict[str, Op]:
    conv, back = nn.Conv2d, nn.ConvTranspose2d
    return {
        "conv stride": Layer(conv, 3, stride=2, padding=1),
        "conv dilation": Layer(conv, 3, padding=2, dilation=2),
        "conv same": Layer(conv, (4, 3), padding="same", dilation=(1, 2)),
        "conv valid": Layer(conv, 2, padding="valid"),
        "conv reflect": Layer(conv, 3, padding=1, padding_mode="reflect"),
        "conv circular": Layer(conv, 3, padding=1, padding_mode="circular"),
        "conv replicate": Layer(conv, 3, padding=1, padding_mode="replicate"),
        "conv depthwise": Layer(conv, 3, padding=1, stride=3, groups=CHANNELS),
        "conv back": Layer(back, 4, stride=2, padding=1),
        "conv back more": Layer(back, 3, stride=2, padding=1, output_padding=1),
        "conv back dilated": Layer(back, 2, stride=3, dilation=2, output_padding=(1, 2)),
        "conv back grouped": Layer(back, 3, stride=2, groups=2),
    }


def cases() -> dict[str, Op]:
    """All of them, by name."""
    torch.manual_seed(0)
    return {**resizes(), **pools(), **borders(), **moves(), **grids(), **convolutions()}
