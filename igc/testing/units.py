"""The layers that generated networks are made of; each is a table row in `UNITS`.

A unit is a module called as `unit(*values)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from igc.testing import attending, plain
from igc.testing.layers import ZERO_ACTS, Layer, make_norm
from igc.testing.spec import EDGE, MAPS, VOCABULARY, Node, Shape, Spec


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
        layer = {"volume": nn.Conv3d, "image": nn.Conv2d, "signal": nn.Conv1d}[out.kind]
        wide = {"groups": ins[0].width} if options.get("depthwise") else {}
        rest = {k: v for k, v in options.items() if k != "depthwise"}
        rest.setdefault("padding", (size // 2) * int(str(rest.get("dilation", 1))))
        kernel = layer(ins[0].width, out.width, size, **rest, **wide)  # type: ignore[arg-type]  # options are a mix of types
        return Layer(kernel, node, out)

    return make


def _kernel(
    make: Callable[[Node, Sequence[Shape], Shape], nn.Module],
    *kinds: str,
    up: int = 1,
    down: int = 1,
) -> Unit:
    return Unit(make, _scaled(up, down), kinds, masks=True)


def _linear(bias: bool) -> Callable[[Node, Sequence[Shape], Shape], nn.Module]:
    return lambda node, ins, out: Layer(nn.Linear(ins[0].width, out.width, bias=bias), node, out)


def _embedding(node: Node, ins: Sequence[Shape], out: Shape) -> nn.Module:
    return Layer(nn.Embedding(VOCABULARY, out.width), node, out)


def _own(make: Callable[[Shape], nn.Module], *kinds: str) -> Unit:
    """A unit that keeps the shape and depends on it."""
    return Unit(lambda node, ins, out: make(out), lambda node, ins: ins[0], kinds)


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


FLAT = ("image", "signal")
ANY = ("image", "signal", "tokens", "vector", "volume")


def _half(edge: int) -> int:
    return edge // 2


UNITS: dict[str, Unit] = {
    "conv1": _kernel(_conv(1), *MAPS),
    "conv3": _kernel(_conv(3), *MAPS),
    "conv5": _kernel(_conv(5), *FLAT),
    "conv3s2": _kernel(_conv(3, stride=2), *MAPS, down=2),
    "conv3d2": _kernel(_conv(3, dilation=2), *FLAT),
    "conv3reflect": _kernel(_conv(3, padding_mode="reflect"), *FLAT),
    "conv3circular": _kernel(_conv(3, padding_mode="circular"), *FLAT),
    "conv3nobias": _kernel(_conv(3, bias=False), *MAPS),
    "gconv3": _kernel(_conv(3, groups=2), *FLAT),
    "dwconv3": Unit(_conv(3, depthwise=True), _scaled(), MAPS, masks=True),
    "tconv2": _kernel(_transposed, "image", up=2),
    "linear": _kernel(_linear(True), "tokens", "vector"),
    "linearnobias": _kernel(_linear(False), "tokens", "vector"),
    "conv3same": _kernel(_conv(3, padding="same"), *FLAT),
    "conv3valid": Unit(
        _conv(3, padding=0),
        lambda node, ins: Shape(ins[0].kind, node.width or ins[0].width, ins[0].edge - 2),
        FLAT,
        masks=True,
    ),
    "embed": Unit(
        _embedding, lambda node, ins: Shape("tokens", node.width, ins[0].edge), ("ids",), masks=True
    ),
    "sub": _plain(lambda ins, out: plain.Sub(), *ANY, arity=2),
    "maximum": _plain(lambda ins, out: plain.Maximum(), *ANY, arity=2),
    "split": _plain(lambda ins, out: plain.SplitSwap(out.axis), *ANY),
    "roll": _plain(lambda ins, out: plain.Roll(out.axis), *ANY),
    "scale": _own(plain.Scale, *ANY),
    "prelu": _own(lambda out: nn.PReLU(out.width), "image", "signal", "vector", "volume"),
    "softmax": _own(lambda out: nn.Softmax(dim=out.axis), *ANY),
    "rms": _own(lambda out: nn.RMSNorm(out.width), "tokens", "vector"),
    "positions": _own(plain.Positions, "tokens"),
    "classtoken": Unit(
        lambda node, ins, out: plain.ClassToken(ins[0]),
        lambda node, ins: Shape("tokens", ins[0].width, ins[0].edge + 1),
        ("tokens",),
    ),
    "firsttoken": _plain(
        lambda ins, out: plain.FirstToken(), "tokens", kind="vector", edge=lambda e: 0
    ),
    "multihead": _plain(lambda ins, out: attending.MultiHead(out.width, 2), "tokens", arity=3),
    "tokenmixing": _own(lambda out: attending.TokenMixing(out.edge), "tokens"),
    "cbam": _own(lambda out: attending.SpatialAttention(), "image"),
    "eca": _own(lambda out: attending.EfficientAttention(), "image"),
    "aspp": _plain(
        lambda ins, out: plain.ImagePooling(), "image", width=lambda ins: 2 * ins[0].width
    ),
    "unshuffle": _plain(
        lambda ins, out: nn.PixelUnshuffle(2),
        "image",
        width=lambda ins: 4 * ins[0].width,
        edge=_half,
    ),
    "maxpool3": _plain(lambda ins, out: nn.MaxPool2d(3, 2, 1), "image", edge=lambda e: -(-e // 2)),
    "adaptive": _plain(lambda ins, out: nn.AdaptiveAvgPool2d(3), "image", edge=lambda e: 3),
    "maxpool3d": _plain(lambda ins, out: nn.MaxPool3d(2), "volume", edge=_half),
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
        lambda node, ins, out: attending.SqueezeExcite(out.width),
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
        (*MAPS, "vector"),
    ),
    "attention": _plain(lambda ins, out: attending.Attention(2), "tokens", arity=3),
    "attention_by_hand": _plain(lambda ins, out: attending.AttentionByHand(2), "tokens", arity=3),
    "to_tokens": _plain(lambda ins, out: plain.ToTokens(), "image", kind="tokens"),
    "pooled": _plain(lambda ins, out: plain.Pooled(ins[0].kind), *MAPS, "tokens", kind="vector"),
    "flat": Unit(
        lambda node, ins, out: nn.Flatten(),
        lambda node, ins: Shape("vector", ins[0].width * ins[0].edge ** 2, 0),
        ("image",),
    ),
    "cumsum": _plain(lambda ins, out: plain.CumSum(out.axis), *ANY),
    "flip": _plain(lambda ins, out: plain.Flip(out.axis), *ANY),
}


def shapes_of(spec: Spec) -> list[Shape]:
    """The shape of every value of the network, the input first."""
    shapes = [Shape(spec.kind, spec.channels, EDGE[spec.kind])]
    for node in spec.nodes:
        shapes.append(UNITS[node.op].shape(node, [shapes[i] for i in node.reads]))
    return shapes
