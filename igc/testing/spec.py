"""A printable description of a gated multi-task network: `repr(spec)` builds the same one again.

A network is a directed graph of nodes. Each node exists once for the shared branch and once for
each task; a gated node selects per channel between the two, and the shared branch goes on with the
mix of the selected values. Value 0 is the input and node i makes value i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields

KINDS = ("image", "signal", "tokens", "vector", "volume", "ids")
WEIGHTS = ("generic", "zeros", "denormal", "twins", "tied")
MAPS = ("image", "signal", "volume")  # channels first, then positions
VOCABULARY = 3  # how many ids there are
# the spatial size of the example input
EDGE = {"image": 12, "signal": 16, "tokens": 5, "vector": 0, "volume": 6, "ids": 5}


class Printed:
    """Prints as the call that makes it, defaults left out."""

    def __repr__(self) -> str:
        parts = []
        for f in fields(self):  # type: ignore[arg-type]  # only dataclasses derive from this
            value = getattr(self, f.name)
            if f.default is MISSING:
                parts.append(repr(value))
            elif value != f.default:
                parts.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False)
class Node(Printed):
    """One layer: `op` is a key of `igc.testing.units.UNITS`, `reads` are the values it takes.

    `width` is the number of output channels where the op chooses it; `gate` the idiom of its gate
    or "" for none; `tied` makes all branches apply one and the same module; `like` is the value of
    an earlier node whose modules this one applies once more (0: it has its own).
    """

    op: str
    reads: tuple[int, ...]
    width: int = 0
    gate: str = ""
    norm: str = ""
    act: str = ""
    tied: bool = False
    like: int = 0


@dataclass(frozen=True, repr=False)
class Head(Printed):
    """What one task returns: `op` is a key of `igc.testing.heads.HEADS`."""

    op: str
    reads: tuple[int, ...]
    width: int = 3


@dataclass(frozen=True, repr=False)
class Spec(Printed):
    """A whole network; see the module's first paragraph.

    `pattern` says which gates are open (`igc.testing.gating.PATTERNS`), `share` how many for
    "random"; `mix` how the mix is written and `mask` the mask (`MIXES`, `MASKS`); `returns` the
    pytree of the outputs; `weights` is "generic", "zeros" or "denormal" (a part of them is),
    "twins" (the first task's weights equal the shared ones) or "tied" (are the same tensors).
    """

    nodes: tuple[Node, ...]
    heads: tuple[Head, ...]
    kind: str = "image"
    channels: int = 3
    pattern: str = "random"
    share: float = 0.4
    mix: str = "chain"
    mask: str = "sigmoid"
    returns: str = "tuple"
    weights: str = "generic"
    seed: int = 0

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.heads)


@dataclass(frozen=True)
class Shape:
    """One value's shape without the batch: its kind, channels and spatial edge (or token count)."""

    kind: str
    width: int
    edge: int

    @property
    def axis(self) -> int:
        """The channel axis."""
        return 1 if self.kind in MAPS else -1

    def view(self) -> tuple[int, ...]:
        """The view that lines a vector over the channels up with the value."""
        spread = {"volume": (1, -1, 1, 1, 1), "image": (1, -1, 1, 1), "signal": (1, -1, 1)}
        return spread.get(self.kind, (-1,))


# Ops whose gradients do not count the minimum: groups, channels that are constant, ops that the
# engine reads whole.
LOOSE = ("gconv3", "cumsum", "flip", "coords", "offset", "roll", "eca", "label")


def exact(spec: Spec) -> bool:
    """Whether the gradient counts the minimum on this network (see `igc.testing.oracle`)."""
    if spec.weights != "generic" or any(h.op in LOOSE for h in spec.heads):
        return False
    return not any(
        n.op in LOOSE
        or n.norm == "gn"
        or n.tied
        or n.like
        or (n.op == "embed" and n.gate == "weight_mask")  # masked tables are looked up apart
        for n in spec.nodes
    )


def describe(specs: Sequence[Spec]) -> str:
    """The specs as Python source, one per line."""
    return "\n".join(repr(s) for s in specs)
