"""Gated networks of many architectures, written with no knowledge of igc.

`architecture("residual", tasks=3, idiom="where")` is a `Spec`; `build` makes the network. Each
function below lists the nodes of one backbone; `o` is a gated node and everything else is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from igc.testing.spec import Head, Node, Spec


@dataclass(frozen=True)
class Backbone:
    """Nodes, and one head that every task gets unless `more` gives others in turn."""

    kind: str
    channels: int
    nodes: tuple[Node, ...]
    heads: tuple[tuple[str, tuple[int, ...]], ...]


def plain_cnn(o: Callable[..., Node]) -> Backbone:
    """Conv, batch norm, ReLU, with pooling."""
    nodes = (
        o("conv3", (0,), 7, norm="bn", act="relu"),
        Node("maxpool", (1,)),
        o("conv3", (2,), 8, norm="bn", act="relu"),
        o("conv1", (3,), 6, norm="bn", act="silu"),
        o("conv3s2", (4,), 9, act="gelu"),
    )
    return Backbone("image", 3, nodes, (("classify", (5,)),))


def residual_cnn(o: Callable[..., Node]) -> Backbone:
    """Basic blocks with identity and projected skips; the gates sit on the layers."""
    nodes = (
        o("conv3", (0,), 6, norm="bn", act="relu"),
        o("conv3", (1,), 5, norm="bn", act="relu"),
        o("conv3", (2,), 6, norm="bn"),
        Node("add", (3, 1)),
        Node("relu", (4,)),
        o("conv3s2", (5,), 8, norm="bn", act="relu"),
        o("conv3", (6,), 8, norm="bn"),
        o("conv3s2", (5,), 8, norm="bn"),
        Node("add", (7, 8)),
        Node("relu", (9,)),
    )
    return Backbone("image", 3, nodes, (("classify", (10,)), ("dense", (10,))))


def depthwise(o: Callable[..., Node]) -> Backbone:
    """MobileNet blocks: pointwise, depthwise, pointwise."""
    nodes = (
        o("conv3", (0,), 6, norm="bn", act="hardswish"),
        o("conv1", (1,), 10, norm="bn", act="relu6"),
        o("dwconv3", (2,), 10, norm="bn", act="relu6"),
        o("conv1", (3,), 6, norm="bn"),
        Node("add", (4, 1)),
        Node("dwconv3", (5,), 6, norm="bn", act="silu"),
        o("conv1", (6,), 7, norm="bn"),
    )
    return Backbone("image", 3, nodes, (("classify", (7,)),))


def squeeze_excite(o: Callable[..., Node]) -> Backbone:
    """Convolutions followed by squeeze-excite, before and after the gate."""
    nodes = (
        o("conv3", (0,), 6, norm="bn", act="silu"),
        Node("se", (1,)),
        o("conv3", (2,), 7, norm="bn", act="relu"),
        o("se", (3,)),
        o("conv1", (4,), 5, norm="bn"),
    )
    return Backbone("image", 3, nodes, (("classify", (5,)), ("raw", (5,))))


def multi_scale(o: Callable[..., Node]) -> Backbone:
    """Features of three sizes, all of them gated; dense heads read them together."""
    nodes = (
        o("conv3", (0,), 5, norm="bn", act="relu"),
        o("conv3s2", (1,), 6, norm="bn", act="relu"),
        o("conv3s2", (2,), 7, norm="bn", act="relu"),
        Node("up", (3,)),
        Node("cat", (4, 2)),
        o("conv3", (5,), 6, norm="bn", act="leaky"),
    )
    heads = (("pyramid", (1, 6, 3)), ("dense", (6,)), ("pyramid", (6, 3)), ("classify", (3,)))
    return Backbone("image", 3, nodes, heads)


def transformer(o: Callable[..., Node]) -> Backbone:
    """Two pre-norm blocks: q, k, v, projection and both feed-forward layers are gated."""
    nodes: tuple[Node, ...] = (o("linear", (0,), 8),)
    x = 1
    for attend in ("attention", "attention_by_hand"):
        n = x + 1
        nodes += (
            Node("ln", (x,)),
            o("linear", (n,), 8),
            o("linear", (n,), 8),
            o("linear", (n,), 8),
            Node(attend, (n + 1, n + 2, n + 3)),
            o("linear", (n + 4,), 8),
            Node("add", (x, n + 5)),
            Node("ln", (n + 6,)),
            o("linear", (n + 7,), 12, act="gelu"),
            o("linear", (n + 8,), 8),
            Node("add", (n + 6, n + 9)),
        )
        x = n + 10
    return Backbone("tokens", 4, nodes, (("mlp", (x,)), ("classify", (x,))))


def patch_transformer(o: Callable[..., Node]) -> Backbone:
    """Convolutions, then attention over the positions of the image."""
    nodes = (
        o("conv3s2", (0,), 6, norm="bn", act="gelu"),
        o("conv3s2", (1,), 6),
        Node("to_tokens", (2,)),
        Node("ln", (3,)),
        o("linear", (4,), 6),
        o("linear", (4,), 6),
        o("linear", (4,), 6),
        Node("attention", (5, 6, 7)),
        o("linear", (8,), 6),
        Node("add", (3, 9)),
    )
    return Backbone("image", 3, nodes, (("classify", (10,)), ("mlp", (10,))))


def mlp(o: Callable[..., Node]) -> Backbone:
    """Linear layers, one with batch norm, one gated linear unit."""
    nodes = (
        o("linear", (0,), 10, norm="bn", act="relu"),
        o("linear", (1,), 8, act="gelu"),
        o("linear", (2,), 12),
        Node("glu", (3,)),
        o("linear", (4,), 7, act="tanh"),
    )
    return Backbone("vector", 6, nodes, (("classify", (5,)), ("embedding", (5,))))


def conv1d(o: Callable[..., Node]) -> Backbone:
    """One-dimensional convolutions with a skip."""
    nodes = (
        o("conv3", (0,), 6, norm="bn", act="relu"),
        o("conv3d2", (1,), 6, norm="bn", act="silu"),
        Node("add", (1, 2)),
        Node("maxpool1d", (3,)),
        o("conv5", (4,), 7, act="gelu"),
    )
    return Backbone("signal", 3, nodes, (("classify", (5,)), ("raw", (5,))))


def dense_concat(o: Callable[..., Node]) -> Backbone:
    """DenseNet: every layer reads the concatenation of all before it."""
    nodes = (
        o("conv3", (0,), 4, norm="bn", act="relu"),
        o("conv3", (1,), 4, norm="bn", act="relu"),
        Node("cat", (1, 2)),
        o("conv3", (3,), 4, norm="bn", act="relu"),
        Node("cat", (3, 4)),
        Node("bn", (5,)),
        Node("relu", (6,)),
        o("conv1", (7,), 6, norm="bn"),
        Node("avgpool", (8,)),
    )
    return Backbone("image", 3, nodes, (("classify", (9,)),))


def shuffled(o: Callable[..., Node]) -> Backbone:
    """ShuffleNet v2: half of the channels bypass, then the halves are interleaved."""
    nodes = (
        o("conv3", (0,), 8, norm="bn", act="relu"),
        Node("first", (1,)),
        Node("second", (1,)),
        o("conv1", (3,), 4, norm="bn", act="relu"),
        o("dwconv3", (4,), 4, norm="bn"),
        Node("cat", (2, 5)),
        Node("shuffle", (6,)),
        Node("every2", (7,)),
        o("conv1", (8,), 5, norm="bn"),
    )
    return Backbone("image", 3, nodes, (("classify", (9,)),))


def grouped(o: Callable[..., Node]) -> Backbone:
    """Grouped convolutions with a channel shuffle: their groups keep equal widths."""
    nodes = (
        o("conv3", (0,), 8, norm="bn", act="relu"),
        o("gconv3", (1,), 8, norm="bn", act="relu"),
        Node("shuffle", (2,)),
        o("gconv3", (3,), 8, norm="bn"),
        Node("add", (3, 4)),
    )
    return Backbone("image", 4, nodes, (("classify", (5,)),))


def decoder(o: Callable[..., Node]) -> Backbone:
    """Down and up again with transposed convolutions and a skip (U-Net)."""
    nodes = (
        o("conv3", (0,), 5, norm="bn", act="relu"),
        o("conv3s2", (1,), 7, norm="bn", act="relu"),
        o("tconv2", (2,), 5, norm="bn", act="leaky"),
        Node("cat", (3, 1)),
        o("conv3", (4,), 8, act="relu"),
        Node("pixelshuffle", (5,)),
    )
    return Backbone("image", 3, nodes, (("dense", (5,)), ("raw", (6,))))


def group_norm(o: Callable[..., Node]) -> Backbone:
    """Group norms: a group's statistics read all of its channels."""
    nodes = (
        o("conv3", (0,), 6, norm="gn", act="relu"),
        o("conv3", (1,), 8, norm="gn", act="silu"),
        o("conv1", (2,), 6),
    )
    return Backbone("image", 3, nodes, (("classify", (3,)),))


def instance_norm(o: Callable[..., Node]) -> Backbone:
    """Instance norms and layer norms over the channels."""
    nodes = (
        o("conv3", (0,), 6, norm="in", act="leaky"),
        o("conv3reflect", (1,), 7, norm="ln", act="gelu"),
        o("conv3circular", (2,), 6, norm="in", act="leaky"),
        o("conv3nobias", (3,), 5),
    )
    return Backbone("image", 3, nodes, (("classify", (4,)), ("dense", (4,))))


def flattened(o: Callable[..., Node]) -> Backbone:
    """LeNet: the image is flattened, so a channel is a run of columns of the linear layer."""
    nodes = (
        o("conv3s2", (0,), 5, act="tanh"),
        o("conv3s2", (1,), 4, norm="bn", act="relu"),
        Node("flat", (2,)),
        o("linear", (3,), 8, act="relu"),
        Node("dropout", (4,)),
        o("linear", (5,), 6),
    )
    return Backbone("image", 2, nodes, (("classify", (6,)), ("raw", (6,))))


ARCHITECTURES: dict[str, Callable[[Callable[..., Node]], Backbone]] = {
    f.__name__: f
    for f in (
        plain_cnn, residual_cnn, depthwise, squeeze_excite, multi_scale, transformer,
        patch_transformer, mlp, conv1d, dense_concat, shuffled, grouped, decoder, group_norm,
        instance_norm, flattened,
    )
}  # fmt: skip


def architecture(
    name: str,
    *,
    tasks: int = 2,
    idiom: str = "mul_add",
    mix: str = "chain",
    pattern: str = "random",
    returns: str = "dict",
    seed: int = 0,
) -> Spec:
    """The spec of the named architecture with that many tasks, gates and mixes so written."""

    def gated(op: str, reads: tuple[int, ...], width: int = 0, **more: str) -> Node:
        return Node(op, reads, width, gate=idiom, norm=more.get("norm", ""),
                    act=more.get("act", ""))  # fmt: skip

    backbone = ARCHITECTURES[name](gated)
    kinds = backbone.heads
    heads = tuple(
        Head(kinds[t % len(kinds)][0], kinds[t % len(kinds)][1], width=3 + t % 2)
        for t in range(tasks)
    )
    return Spec(
        nodes=backbone.nodes, heads=heads, kind=backbone.kind, channels=backbone.channels,
        pattern=pattern, mix=mix, returns=returns, seed=seed,
    )  # fmt: skip
