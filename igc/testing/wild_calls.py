"""Calls of allowed operations as a stranger might write them: arguments right and wrong, by schema.

Each is a program of one call as plain data (`igc.checkpoint.data.from_data` reads it) and its
tensors. Sizes come from a handful per call, so that operands often fit: what fits reaches kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

import torch
from torch import Tensor

from igc.checkpoint.data.values import DTYPES, MEMORY_FORMATS
from igc.ops.allowed import allowed

MAX_RANK = 6
MAX_NUMBERS = 1 << 14  # in one operand
EXTREME = (-(1 << 63), -(1 << 31) - 1, -(1 << 31), 1 << 31, (1 << 63) - 1, 1 << 16, 255, 32)
WORDS = (
    "constant", "reflect", "replicate", "circular", "floor", "trunc", "none", "tanh", "ij", "xy",
    "sum", "mean", "amax", "prod", "linear", "lower", "same", "valid", "bhwc", "",
)  # fmt: skip


@dataclass(frozen=True)
class WildCall:
    """One call: the program's plain data, and its tensors by name."""

    op: str
    data: dict[str, Any]
    tensors: dict[str, Tensor]


def operations() -> list[str]:
    """Every operation of ATen that a stored graph may name."""
    return [n for n, op in allowed().items() if isinstance(op, torch._ops.OpOverload)]


def wild_call(op: str, random: Random) -> WildCall:
    """A call of that operation; the same for the same state of `random`."""
    return _Drawing(op, random).call()


class _Drawing:
    """The nodes, inputs and tensors of one call while its arguments are drawn."""

    def __init__(self, op: str, random: Random) -> None:
        self.op, self.random = op, random
        self.schema = allowed()[op]._schema  # type: ignore[attr-defined]  # an OpOverload
        self.pool = [random.choice((0, 1, 1, 2, 2, 3, 4, 5, 8, 16)) for _ in range(4)]
        self.pool += [n for n in self.pool if n] or [2]
        self.rank = random.choice((0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5))
        self.shape: tuple[int, ...] = ()
        self.dtype = random.choice(list(DTYPES)) if self.chance(0.2) else "float32"
        self.nodes: list[dict[str, Any]] = []
        self.inputs: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}
        self.sizes: dict[str, int] = {}

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def call(self) -> WildCall:
        if self.op in RECURRENT and self.chance(0.7):
            return self.recurrent(RECURRENT[self.op])
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        skipped = False
        for argument in self.schema.arguments:
            if argument.has_default_value() and self.chance(0.35):
                skipped = True
                continue
            kind = str(argument.real_type)
            value = self.value(kind, argument.name) if self.chance(0.98) else self.anything()
            if skipped or argument.kwarg_only:
                kwargs[argument.name] = value
            else:
                args.append(value)
        if not self.nodes:  # a program has an input
            self.tensor("x", as_input=True)
        return self.made(args, kwargs)

    def made(self, args: list[Any], kwargs: dict[str, Any]) -> WildCall:
        self.nodes.append({
            "name": "call", "op": "call_function", "target": self.op, "args": args,
            "kwargs": kwargs,
        })  # fmt: skip
        return WildCall(self.op, self.program(), self.tensors)

    def recurrent(self, gates: int) -> WildCall:
        """Layers whose weights fit, but for some."""
        biases, both, first, projected = (self.chance(0.5) for _ in range(4))
        layers, ways = self.random.choice((1, 1, 2, 3)), 1 + both
        batch, time, width, hidden = (self.random.choice((1, 2, 3, 8)) for _ in range(4))
        out = self.random.choice((1, 2, 5)) if projected and gates == 4 else hidden
        shapes: list[tuple[int, ...]] = [(layers * ways, batch, out)]
        shapes += [(layers * ways, batch, hidden)] * (gates == 4)
        for layer in range(layers):
            read = out * ways if layer else width
            own: list[tuple[int, ...]] = [(gates * hidden, read), (gates * hidden, out)]
            own += [(gates * hidden,)] * (2 * biases) + [(out, hidden)] * (out != hidden)
            shapes += own * ways
        for at in range(len(shapes)):
            if self.chance(0.5 / len(shapes)):
                self.shape = shapes[at]
                shapes[at] = self.draw_shape()
        if self.chance(0.1):
            del shapes[self.random.randrange(len(shapes))]
        given = [self.fresh(s, self.dtype, self.chance(0.3)) for s in shapes]
        read_shape = (batch, time, width) if first else (time, batch, width)
        x = self.fresh(read_shape, self.dtype, True)
        states = 1 + (gates == 4)
        hx = given[:states] if gates == 4 else given[0] if given else x
        return self.made([x, hx, given[states:], biases, layers, 0.0, False, both, first], {})

    def program(self) -> dict[str, Any]:
        returned = [str(r.type) for r in self.schema.returns]
        result = "call"
        if returned == ["int"]:
            result = self.nodes[0]["name"]
        elif returned != ["Tensor"]:
            result = "piece"
            index = self.random.randrange(max(len(returned), 1))
            self.nodes.append({
                "name": "piece", "op": "call_function", "target": "operator.getitem",
                "args": [{"node": "call"}, index],
            })  # fmt: skip
        output = {"name": "output", "op": "output", "args": [{"node": result}]}
        return {
            "dtype": "float32", "sizes": self.sizes, "inputs": self.inputs, "outputs": ["y"],
            "structure": {"tuple": [None]}, "gates": {}, "mixes": {}, "origins": {}, "note": {},
            "nodes": [*self.nodes, output],
        }  # fmt: skip

    def value(self, kind: str, name: str) -> Any:
        """An argument of that type of the schema's."""
        if kind.startswith("Optional["):
            return None if self.chance(0.4) else self.value(kind[9:-1], name)
        if kind.startswith("List["):
            return self.many(kind[5:-1], name)
        return KINDS.get(kind, _Drawing.anything)(self, name)

    def many(self, kind: str, name: str) -> list[Any]:
        if kind not in ("int", "SymInt"):
            return [self.value(kind, name) for _ in range(self.random.randrange(5))]
        spatial = max(len(self.shape) - 2, 0)
        near = (len(self.shape), spatial, spatial, 1, self.random.randrange(8), 2 * spatial)
        count = self.random.choice(near)
        if "dim" in name or name == "axes":
            axes = list(range(len(self.shape)))
            self.random.shuffle(axes)
            return axes[:count] if self.chance(0.7) else [self.integer(name) for _ in range(count)]
        if name in ("size", "shape", "normalized_shape", "output_size") and self.chance(0.5):
            return list(self.shape[-count:]) if count else []
        same = self.integer(name)
        return [same if self.chance(0.6) else self.integer(name) for _ in range(count)]

    def integer(self, name: str) -> int:
        if self.chance(0.04):
            return self.random.choice(EXTREME)
        if "dim" in name:
            return self.random.randrange(-len(self.shape) - 1, len(self.shape) + 2)
        if self.chance(0.3):
            return self.random.choice(self.pool)
        return self.random.choice((0, 0, 1, 1, 1, 1, 2, 2, 3, 4, -1, -2))

    def number(self, _name: str) -> Any:
        if self.chance(0.1):
            return {"float": self.random.choice(("inf", "-inf", "nan"))}
        return self.random.choice((0.0, 1.0, 0.5, -1.0, 1e-5, 2.5, 1e30, -3.0))

    def scalar(self, name: str) -> Any:
        drawn = (self.integer(name), self.number(name), self.chance(0.5))
        return self.random.choice(drawn)

    def tensor(self, name: str, as_input: bool | None = None) -> dict[str, str]:
        """A new operand, or one that is there already."""
        if self.nodes and self.chance(0.1):
            return {"node": self.random.choice(self.nodes)["name"]}
        shape = self.draw_shape()
        self.shape = self.shape or shape
        as_input = self.chance(0.5) if as_input is None else as_input
        return self.fresh(shape, self.draw_dtype(name), as_input)

    def fresh(self, shape: tuple[int, ...], dtype: str, as_input: bool) -> dict[str, str]:
        called = f"t{len(self.nodes)}"
        if as_input:
            dims: list[int | str] = list(shape)
            for axis, size in enumerate(shape):
                if size and self.chance(0.15):
                    dims[axis] = f"s{len(self.sizes)}"
                    self.sizes[str(dims[axis])] = size
            self.inputs.append({"name": called, "dims": dims, "dtype": dtype})
            self.nodes.append({"name": called, "op": "placeholder"})
        else:
            self.tensors[called] = self.strided(shape, DTYPES[dtype])
            self.nodes.append({"name": called, "op": "get_attr", "target": called})
        return {"node": called}

    def draw_dtype(self, name: str) -> str:
        if "ind" in name or name in ("offsets", "sorter", "repeats"):
            return self.random.choice(("int64", "int64", "int64", "int32", self.dtype, "bool"))
        if name in ("mask", "condition"):
            return self.random.choice(("bool", "bool", self.dtype))
        return self.random.choice(list(DTYPES)) if self.chance(0.08) else self.dtype

    def draw_shape(self) -> tuple[int, ...]:
        known = self.shape
        if known and self.chance(0.75):
            axis = self.random.randrange(len(known))
            return self.random.choice((
                known, known, known[:-1] or known, known[1:], (known[min(1, len(known) - 1)],),
                (known[-1],), (known[axis],), known[:axis] + known[axis + 1 :], known[::-1],
                (*known[:axis], self.random.choice(self.pool), *known[axis + 1 :]),
                (known[min(1, len(known) - 1)], 1, *[1] * (len(known) - 2)),
                (self.random.choice(self.pool), *known[1:]),
            ))  # fmt: skip
        rank = self.rank if self.chance(0.7) else self.random.randrange(MAX_RANK + 1)
        sizes = [self.random.choice(self.pool) for _ in range(rank)]
        while prod(sizes) > MAX_NUMBERS:
            sizes[sizes.index(max(sizes))] = 1
        return tuple(sizes)

    def strided(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A constant: contiguous, or a view as a file may hold one, also with odd steps."""
        made = values(shape, dtype, self.random)
        way = self.random.randrange(6)
        if way == 0 and made.ndim > 1:
            return values(shape[::-1], dtype, self.random).permute(*reversed(range(made.ndim)))
        if way == 1 and made.numel():
            return made.flatten()[:1].expand(shape) if made.ndim else made
        if way == 2 and made.ndim:
            return values((*shape[:-1], 2 * shape[-1] + 1), dtype, self.random)[..., 1::2]
        if way == 3 and 1 in shape:
            steps = [1 << 40 if n == 1 else s for n, s in zip(shape, made.stride(), strict=True)]
            return made.as_strided(shape, steps)
        return made

    def anything(self, _name: str = "") -> Any:
        """A value that need not be of the argument's type."""
        return self.random.choice((
            None, True, 0, 1.5, -1, "x", [], [1, 2], [0.5], {"dtype": "float32"},
            {"tuple": [1]}, {"memory_format": "channels_last"}, {"layout": "strided"},
            {"device": "cpu"}, {"float": "nan"}, self.tensor("x"), [self.tensor("x")], 1 << 62,
        ))  # fmt: skip


RECURRENT = {"aten.lstm.input": 4, "aten.gru.input": 3, "aten.rnn_relu.input": 1,
             "aten.rnn_tanh.input": 1}  # fmt: skip
KINDS: dict[str, Callable[[_Drawing, str], Any]] = {
    "Tensor": lambda d, name: d.tensor(name),
    "int": lambda d, name: d.integer(name),
    "SymInt": lambda d, name: d.integer(name),
    "float": lambda d, name: d.number(name),
    "number": lambda d, name: d.scalar(name),
    "Scalar": lambda d, name: d.scalar(name),
    "bool": lambda d, name: d.chance(0.5),
    "str": lambda d, name: d.random.choice(WORDS),
    "ScalarType": lambda d, name: {"dtype": d.random.choice(list(DTYPES))},
    "Layout": lambda d, name: {"layout": "strided"},
    "Device": lambda d, name: {"device": "cpu"},
    "MemoryFormat": lambda d, name: {"memory_format": d.random.choice(list(MEMORY_FORMATS))},
}


def values(shape: tuple[int, ...], dtype: torch.dtype, random: Random) -> Tensor:
    """Small numbers, a few of them odd: negative, huge or NaN, as indices out of range."""
    generator = torch.Generator().manual_seed(random.getrandbits(32))
    drawn = torch.randn(shape, generator=generator) * 2
    if dtype.is_floating_point or dtype.is_complex:
        if random.random() < 0.1 and drawn.numel():
            drawn.view(-1)[0] = random.choice((float("nan"), float("inf"), -1e30))
        return drawn.to(dtype)
    whole = drawn.abs().to(torch.int64)
    if random.random() < 0.2 and whole.numel():
        whole.view(-1)[-1] = random.choice((-1, 7, 100, 1 << 20, (1 << 62) + 1))
    return whole.to(dtype)
