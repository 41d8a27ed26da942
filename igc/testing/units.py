"""The layers that generated networks are made of; each is a table row in `UNITS`.

A unit is a module called as `unit(*values)`. A `Layer` also takes a mask, which it multiplies on
the rows of its weights and biases, so that masked channels come out as exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igc.testing import plain
from igc.testing.spec import Node, Shape

ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}
NORMS = ("", "bn", "in", "gn", "ln")
ZERO_ACTS = ("", "relu", "relu6", "leaky", "gelu", "silu", "hardswish", "tanh", "elu")  # f(0) = 0


class Layer(nn.Module):
    """A kernel (convolution or linear layer), then a norm, then an activation."""

    def __init__(self, kernel: nn.Module, node: Node, shape: Shape) -> None:
        super().__init__()
        self.kernel, self.act, self.out = kernel, ACTS[node.act], shape
        self.norm = make_norm(node.norm, shape)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return self.act(self.norm(self.kernel(x)))
        value = self._masked_kernel(x, mask)
        norm = self.norm
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            value = F.batch_norm(
                value, norm.running_mean, norm.running_var, norm.weight * mask, norm.bias * mask
            )
        return self.act(value)

    def _masked_kernel(self, x: Tensor, mask: Tensor) -> Tensor:
        kernel = self.kernel
        if isinstance(kernel, nn.Linear):
            return F.linear(x, kernel.weight * mask[:, None], kernel.bias * mask)
        if isinstance(kernel, nn.ConvTranspose2d):
            weight = kernel.weight * mask.view(1, -1, 1, 1)
            bias = None if kernel.bias is None else kernel.bias * mask
            return F.conv_transpose2d(x, weight, bias, kernel.stride, kernel.padding)  # type: ignore[arg-type]  # stubs want int
        assert isinstance(kernel, (nn.Conv1d, nn.Conv2d))
        weight = kernel.weight * mask.view(-1, *([1] * (kernel.weight.ndim - 1)))
        bias = None if kernel.bias is None else kernel.bias * mask
        value: Tensor = kernel._conv_forward(x, weight, bias)
        return value


class ChannelNorm(nn.Module):
    """Layer norm over the channel axis of an image or signal, written with permutes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.norm(x.movedim(1, -1))
        return value.movedim(-1, 1)


def make_norm(name: str, shape: Shape) -> nn.Module:
    """The norm layer of that name for values of that shape."""
    width, last = shape.width, shape.axis == -1
    if name == "":
        return nn.Identity()
    if name == "bn":
        return nn.BatchNorm2d(width) if shape.kind == "image" else nn.BatchNorm1d(width)
    if name == "in":
        norm = nn.InstanceNorm2d if shape.kind == "image" else nn.InstanceNorm1d
        return norm(width, affine=True)
    if name == "gn":
        return nn.GroupNorm(2, width)
    if name == "ln":
        return nn.LayerNorm(width) if last else ChannelNorm(width)
    raise ValueError(f"unknown norm {name!r}")


def can_mask(node: Node, shape: Shape) -> bool:
    """Whether masks on this node's weights make its masked channels exactly zero."""
    norms = ("", "bn") if shape.kind != "tokens" else ("",)
    return UNITS[node.op].masks and node.norm in norms and node.act in ZERO_ACTS


@dataclass(frozen=True)
class Unit:
    """How one op is made: `make(node, in shapes, out shape)`, and the shape it gives."""

    make: Callable[[Node, Sequence[Shape], Shape], nn.Module]
    shape: Callable[[Node, Sequence[Shape]], Shape]
    kinds: tuple[str, ...]
    arity: int = 1
    masks: bool = False

    @property
    def has_weights(self) -> bool:
        """Whether the unit chooses its output width, that is, has a kernel."""
        return self.masks


def _scaled(up: int = 1, down: int = 1) -> Callable[[Node, Sequence[Shape]], Shape]:
    def shape(node: Node, ins: Sequence[Shape]) -> Shape:
        edge = ins[0].edge * up if up > 1 else -(-ins[0].edge // down)
        return Shape(ins[0].kind, node.width or ins[0].width, edge)

    return shape


def _conv(size: int, **options: object) -> Callable[[Node, Sequence[Shape], Shape], nn.Module]:
    def make(node: Node, ins: Sequence[Shape], out: Shape) -> nn.Module:
        layer = nn.Conv2d if out.kind == "image" else nn.Conv1d
        wide = {"groups": ins[0].width} if options.get("depthwise") else {}
        rest = {k: v for k, v in options.items() if k != "depthwise"}
        pad = (size // 2) * int(str(rest.get("dilation", 1)))
        kernel = layer(ins[0].width, out.width, size, padding=pad, **rest, **wide)  # type: ignore[arg-type]  # options are a mix of types
        return Layer(kernel, node, out)

    return make


def _kernel(
    make: Callable[[Node, Sequence[Shape], Shape], nn.Module],
    *kinds: str,
    up: int = 1,
    down: int = 1,
) -> Unit:
    return Unit(make, _scaled(up, down), kinds, masks=True)


def _linear(node: Node, ins: Sequence[Shape], out: Shape) -> nn.Module:
    return Layer(nn.Linear(ins[0].width, out.width), node, out)


def _transposed(node: Node, ins: Sequence[Shape], out: Shape) -> nn.Module:
    return Layer(nn.ConvTranspose2d(ins[0].width, out.width, 2, stride=2), node, out)


def _plain(
    make: Callable[[Sequence[Shape], Shape], nn.Module],
    *kinds: str,
    arity: int = 1,
    width: Callable[[Sequence[Shape]], int] = lambda ins: ins[0].width,
    kind: str = "",
    edge: Callable[[int], int] = lambda edge: edge,
) -> Unit:
    def shape(node: Node, ins: Sequence[Shape]) -> Shape:
        return Shape(kind or ins[0].kind, width(ins), edge(ins[0].edge))

    return Unit(lambda node, ins, out: make(ins, out), shape, kinds, arity)


MAPS = ("image", "signal")
ANY = ("image", "signal", "tokens", "vector")


def _half(edge: int) -> int:
    return edge // 2


UNITS: dict[str, Unit] = {
    "conv1": _kernel(_conv(1), *MAPS),
    "conv3": _kernel(_conv(3), *MAPS),
    "conv5": _kernel(_conv(5), *MAPS),
    "conv3s2": _kernel(_conv(3, stride=2), *MAPS, down=2),
    "conv3d2": _kernel(_conv(3, dilation=2), *MAPS),
    "conv3reflect": _kernel(_conv(3, padding_mode="reflect"), *MAPS),
    "conv3circular": _kernel(_conv(3, padding_mode="circular"), *MAPS),
    "conv3nobias": _kernel(_conv(3, bias=False), *MAPS),
    "gconv3": _kernel(_conv(3, groups=2), *MAPS),
    "dwconv3": Unit(_conv(3, depthwise=True), _scaled(), MAPS, masks=True),
    "tconv2": _kernel(_transposed, "image", up=2),
    "linear": _kernel(_linear, "tokens", "vector"),
    "add": _plain(lambda ins, out: plain.Add(), *ANY, arity=2),
    "mul": _plain(lambda ins, out: plain.Mul(), *ANY, arity=2),
    "cat": _plain(
        lambda ins, out: plain.Cat(out.axis),
        *ANY,
        arity=2,
        width=lambda ins: ins[0].width + ins[1].width,
    ),
    "first": _plain(
        lambda ins, out: plain.Half(out.axis, 0), *ANY, width=lambda ins: (ins[0].width + 1) // 2
    ),
    "second": _plain(
        lambda ins, out: plain.Half(out.axis, 1), *ANY, width=lambda ins: ins[0].width // 2
    ),
    "glu": _plain(lambda ins, out: plain.Glu(out.axis), *ANY, width=lambda ins: ins[0].width // 2),
    "every2": _plain(
        lambda ins, out: plain.EverySecond(out.axis),
        *ANY,
        width=lambda ins: (ins[0].width + 1) // 2,
    ),
    "relu": _plain(lambda ins, out: nn.ReLU(), *ANY),
    "gelu": _plain(lambda ins, out: nn.GELU(), *ANY),
    "dropout": _plain(lambda ins, out: nn.Dropout(0.3), *ANY),
    "offset": _plain(lambda ins, out: plain.Offset(out), *ANY),
    "coords": _plain(lambda ins, out: plain.Coords(), "image", width=lambda ins: ins[0].width + 2),
    "maxpool": _plain(lambda ins, out: nn.MaxPool2d(2), "image", edge=_half),
    "avgpool": _plain(lambda ins, out: nn.AvgPool2d(2), "image", edge=_half),
    "maxpool1d": _plain(lambda ins, out: nn.MaxPool1d(2), "signal", edge=_half),
    "up": _plain(lambda ins, out: plain.Upsample("nearest"), "image", edge=lambda e: 2 * e),
    "bilinear": _plain(lambda ins, out: plain.Upsample("bilinear"), "image", edge=lambda e: 2 * e),
    "se": Unit(
        lambda node, ins, out: plain.SqueezeExcite(out.width),
        lambda node, ins: ins[0],
        ("image",),
    ),
    "shuffle": _plain(lambda ins, out: plain.ChannelShuffle(2), "image"),
    "pixelshuffle": _plain(
        lambda ins, out: nn.PixelShuffle(2),
        "image",
        width=lambda ins: ins[0].width // 4,
        edge=lambda e: 2 * e,
    ),
    "ln": Unit(lambda node, ins, out: make_norm("ln", out), lambda node, ins: ins[0], ANY),
    "bn": Unit(
        lambda node, ins, out: make_norm("bn", out),
        lambda node, ins: ins[0],
        ("image", "signal", "vector"),
    ),
    "attention": _plain(lambda ins, out: plain.Attention(2), "tokens", arity=3),
    "attention_by_hand": _plain(lambda ins, out: plain.AttentionByHand(2), "tokens", arity=3),
    "to_tokens": _plain(lambda ins, out: plain.ToTokens(), "image", kind="tokens"),
    "pooled": _plain(
        lambda ins, out: plain.Pooled(ins[0].kind), "image", "signal", "tokens", kind="vector"
    ),
    "flat": Unit(
        lambda node, ins, out: nn.Flatten(),
        lambda node, ins: Shape("vector", ins[0].width * ins[0].edge ** 2, 0),
        ("image",),
    ),
    "cumsum": _plain(lambda ins, out: plain.CumSum(out.axis), *ANY),
    "flip": _plain(lambda ins, out: plain.Flip(out.axis), *ANY),
}
