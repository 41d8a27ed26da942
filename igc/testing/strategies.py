"""Hypothesis strategies for whole gated networks; needs the optional package hypothesis.

    @given(specs())
    def test_my_compiler(spec):
        net, inputs = build(spec)
        ...

A network grows node by node from what the values so far allow. Nodes that chance does not wire
well (residual blocks, attention, pyramids) come as small motifs. A failing spec prints as source;
paste it into a regression test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from igc.testing.units import shapes_of

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "igc.testing.strategies needs the package hypothesis: pip install 'igc-compiler[test]'"
    ) from error

from igc.testing.builder import RETURNS
from igc.testing.gating import FURTHER, IDIOMS, MASKS, MIXES, PATTERNS
from igc.testing.heads import HEADS
from igc.testing.layers import ACTS, ZERO_ACTS
from igc.testing.spec import EDGE, KINDS, LOOSE, MAPS, WEIGHTS, Head, Node, Shape, Spec
from igc.testing.units import UNITS

WIDEST = 14
ATTENTION = ("attention", "attention_by_hand", "multihead")
# What every run of igc's own tests draws from; soaks draw from everything there is.
CORE_KINDS = ("image", "signal", "tokens", "vector")
BEYOND = (
    "linearnobias", "conv3same", "conv3valid", "embed", "sub", "maximum", "split", "roll", "scale",
    "prelu", "softmax", "rms", "positions", "classtoken", "firsttoken", "multihead", "tokenmixing",
    "cbam", "eca", "aspp", "unshuffle", "maxpool3", "adaptive", "maxpool3d", "segment", "label",
    "pair",
)  # fmt: skip
WEIGHED = ("generic",) * 4 + WEIGHTS  # half of the networks have generic weights


def fits(node: Node, ins: Sequence[Shape]) -> bool:
    """Whether the node can read values of these shapes, stay small and keep every tap in use.

    A 3x3 kernel on a 1x1 image has taps that only ever see the border; their gradient is zero,
    yet no compiler cuts a kernel's taps.
    """
    unit, first = UNITS[node.op], ins[0]
    if len(ins) != unit.arity or any(s.kind not in unit.kinds for s in ins):
        return False
    out = unit.shape(node, ins)
    width, least = first.width, 3 if first.kind in MAPS else 0
    same, roomy = all(s == first for s in ins), first.edge >= 6
    rules: dict[str, bool] = {
        **dict.fromkeys(("add", "mul", "sub", "maximum"), same),
        **dict.fromkeys(ATTENTION, same and width % 2 == 0 and width >= 4),
        "cat": ins[-1].edge == first.edge and ins[-1].kind == first.kind,
        "glu": width % 2 == 0 and width >= 4,
        "first": width >= 4,
        "second": width >= 4,
        "every2": width >= 4,
        "shuffle": width % 2 == 0,
        "pixelshuffle": width % 4 == 0 and width >= 8,
        "gconv3": width % 2 == 0 and out.width % 2 == 0,
        "dwconv3": out.width == width,
        **dict.fromkeys(("maxpool", "avgpool", "maxpool1d", "maxpool3", "maxpool3d"), roomy),
        "unshuffle": first.edge % 2 == 0 and roomy,
        **dict.fromkeys(("adaptive", "conv3valid"), roomy),
        "rms": width >= 3,
        "split": width >= 3,
        "softmax": width >= 3,
        "ln": width >= 3,
        "to_tokens": first.edge <= 6,
        "flat": width * first.edge**2 <= 200,
    }
    maps = out.kind in MAPS
    normed = {
        "bn": out.kind != "tokens",
        "gn": maps and out.width % 2 == 0 and out.width >= 4,
        "in": maps and node.act not in ("", "relu6"),
        "ln": out.width >= 3,
    }
    return (
        rules.get(node.op, True)
        and normed.get(node.norm, True)
        and first.edge >= least
        and out.width <= max(WIDEST, 200 * (node.op == "flat"))
        and out.edge <= max(24, EDGE["signal"], 36 * (out.kind == "tokens"))
    )


@dataclass
class Sketch:
    """A network under construction."""

    draw: Callable[[st.SearchStrategy[object]], object]
    kind: str
    channels: int
    idioms: tuple[str, ...]
    loose: bool
    wide: bool = True
    nodes: list[Node] = field(default_factory=list)

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of all values so far."""
        return shapes_of(Spec(tuple(self.nodes), (), self.kind, self.channels))

    def skips(self, name: str) -> bool:
        """Whether the op or head is none to draw here."""
        beyond, loose = name in BEYOND and not self.wide, name in LOOSE and not self.loose
        return beyond or loose

    def pick(self, options: Sequence[str]) -> str:
        """One of the options."""
        return str(self.draw(st.sampled_from(list(options))))

    def number(self, low: int, high: int) -> int:
        """A number in that range, both ends included."""
        return int(str(self.draw(st.integers(low, high))))

    def gate(self, *, rare: bool = False) -> str:
        """The idiom of a gate, or "" for none."""
        if self.number(0, 3) >= (1 if rare else 3):
            return ""
        return self.pick(self.idioms)

    def add(self, node: Node) -> int:
        """Appends the node if it fits; the index of its value, or of the one it would read."""
        shapes = self.shapes
        if not fits(node, [shapes[i] for i in node.reads]):
            return node.reads[0]
        self.nodes.append(node)
        return len(self.nodes)

    def layer(self, read: int, width: int = 0) -> int:
        """A kernel with norm, activation and gate, as drawn."""
        shape = self.shapes[read]
        ops = [
            name for name, unit in UNITS.items()
            if unit.masks and shape.kind in unit.kinds and not self.skips(name)
        ]  # fmt: skip
        if width:
            ops = [o for o in ops if "s2" not in o and o != "tconv2"]
        op = self.pick(ops)
        norms = ["", "", "bn", "bn", "ln", "in"] + (["gn"] if self.loose else [])
        out = shape.width if op == "dwconv3" else width or self.number(3, 8)
        acts = ZERO_ACTS if self.number(0, 3) else tuple(ACTS)
        node = Node(
            op, (read,), out, self.gate(), self.pick(norms), self.pick(acts),
            tied=self.loose and self.number(0, 9) == 0,
        )  # fmt: skip
        done = self.add(node)
        return done if done != read else self.add(Node(op, (read,), out, node.gate))

    def residual(self, read: int) -> int:
        """x + f(x), gated inside, after the sum or both."""
        width = self.shapes[read].width
        inner = self.layer(self.layer(read, self.number(3, 8)), width)
        return self.add(Node("add", (inner, read), gate=self.gate(rare=True)))

    def attention(self, read: int) -> int:
        """Pre-norm attention with a skip; q, k, v and the projection may be gated."""
        width = self.shapes[read].width
        normed = self.add(Node("ln", (read,)))
        inner = self.number(2, 5) * 2
        q, k, v = (self.add(Node("linear", (normed,), inner, self.gate())) for _ in range(3))
        op = self.pick([a for a in ATTENTION if not self.skips(a)])
        attended = self.add(Node(op, (q, k, v)))
        if self.shapes[attended].width != inner:
            return attended
        projected = self.add(Node("linear", (attended,), width, self.gate()))
        return self.add(Node("add", (read, projected)))

    def plain(self, read: int) -> int:
        """An op without a kernel, on `read` and whatever else suits it."""
        shapes = self.shapes
        options: dict[str, list[tuple[int, ...]]] = {}
        for name, unit in UNITS.items():
            if unit.masks or unit.arity > 2 or self.skips(name):
                continue
            for other in range(len(shapes)) if unit.arity == 2 else (0,):
                reads = (read, other)[: unit.arity]
                if fits(Node(name, reads), [shapes[i] for i in reads]):
                    options.setdefault(name, []).append(reads)
        if not options:
            return read
        op = self.pick(list(options))
        reads = options[op][self.number(0, len(options[op]) - 1)]
        return self.add(Node(op, reads, gate=self.gate(rare=True)))

    def again(self, read: int) -> int:
        """The modules of an earlier layer applied once more, to another value."""
        shapes = self.shapes
        fitting = [
            i for i, n in enumerate(self.nodes, 1)
            if UNITS[n.op].masks and not n.like and shapes[n.reads[0]].kind == shapes[read].kind
            and shapes[n.reads[0]].width == shapes[read].width and self.loose
        ]  # fmt: skip
        if not fitting:
            return self.layer(read)
        like = fitting[self.number(0, len(fitting) - 1)]
        return self.add(replace(self.nodes[like - 1], reads=(read,), gate=self.gate(), like=like))

    def grow(self) -> None:
        """One more layer or motif, mostly on the newest value."""
        last = len(self.nodes)
        read = last if self.number(0, 3) else self.number(0, last)
        motifs = [self.layer, self.layer, self.plain, self.plain, self.residual]
        motifs += [self.again] if self.wide else []
        if self.shapes[read].kind == "tokens":
            motifs += [self.attention, self.attention]
        motifs[self.number(0, len(motifs) - 1)](read)

    def head(self) -> Head:
        """A head on the newest value, or on an earlier one; a pyramid reads several."""
        shapes, last = self.shapes, len(self.nodes)
        read = last if self.number(0, 3) else self.number(min(1, last), last)
        kinds = [n for n, h in HEADS.items() if shapes[read].kind in h.kinds and not self.skips(n)]
        if shapes[read].width < 3:
            kinds.remove("mlp") if "mlp" in kinds else None
        op = self.pick(kinds)
        reads: tuple[int, ...] = (read,)
        if HEADS[op].many:
            images = [i for i, s in enumerate(shapes) if s.kind == "image" and i]
            reads += tuple(i for i in images[-3:] if i != read)
        return Head(op, reads, self.number(2, 4))


@st.composite
def specs(
    draw: st.DrawFn,
    kinds: Sequence[str] = KINDS,
    *,
    max_nodes: int = 6,
    max_tasks: int = 8,
    loose: bool | None = None,
    wide: bool = True,
) -> Spec:
    """Specs of gated networks whose input is of one of `kinds`.

    `loose=False` leaves out what makes the gradient differ from the minimum (grouped convolutions,
    group norms, shared modules, constants, unknown ops, special weights); None draws either.
    `wide=False` keeps to the most usual ops and idioms.
    """
    free = draw(st.booleans()) if loose is None else loose
    kinds = [k for k in kinds if wide or k in CORE_KINDS]
    kind = draw(st.sampled_from(kinds))
    every = IDIOMS + FURTHER * wide
    idioms = draw(st.one_of(st.sampled_from([(i,) for i in every]), st.just(every)))
    sketch = Sketch(draw, kind, draw(st.integers(2, 5)), idioms, free, wide)
    sketch.layer(0)
    for _ in range(draw(st.integers(1, max_nodes))):
        sketch.grow()
    tasks = draw(st.one_of(st.integers(1, min(3, max_tasks)), st.integers(1, max_tasks)))
    return Spec(
        nodes=tuple(sketch.nodes),
        heads=tuple(sketch.head() for _ in range(tasks)),
        kind=kind,
        channels=sketch.channels,
        pattern=draw(st.sampled_from(PATTERNS)),
        share=draw(st.sampled_from([0.1, 0.3, 0.5, 0.9])),
        mix=draw(st.sampled_from(MIXES)),
        mask=draw(st.sampled_from(MASKS)) if wide else "sigmoid",
        returns=draw(st.sampled_from(RETURNS)),
        weights=draw(st.sampled_from(WEIGHED[: None if wide else -1])) if free else "generic",
        seed=draw(st.integers(0, 10_000)),
    )
