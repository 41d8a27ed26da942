"""A program read from its text: what `igc.program.text.text` wrote, or a person by hand.

For people's own text and for tests: nothing of it is evaluated as Python, but nothing bounds what
its calls cost either. Files of strangers are read by `igc.checkpoint` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from igc.errors import BadInput, first_line
from igc.program.phrases import drawn, dtype, operation, origin, structure, value
from igc.program.program import InputSpec, Origin, Program
from igc.program.tokens import Line, number, unquoted


def parse(source: str, constants: Mapping[str, Tensor] | None = None) -> Program:
    """The program that the text tells of.

    Constants are taken from `constants`, else made of the values in the text. Those of which
    neither knows are drawn, the same ones every time: vectors between a half and one and a half,
    so that they can be variances, other real tensors from a normal distribution, whole numbers 0
    or 1, which are valid indices into any table. A node with a name of Python's (`open`) gets a
    number behind it. Raises `BadInput`, naming the line, for a text that is no program.
    """
    reader = _Reader(constants or {}, source)
    for at, words in enumerate(source.splitlines(), 1):
        try:
            line = Line(words)
            if line.tokens:
                reader.read(line)
                line.end()
        except (BadInput, ValueError, SyntaxError, RuntimeError) as error:
            raise BadInput(f"line {at} of the program: {first_line(error)}") from None
    return reader.program()


class _Reader:
    """The program as it is read, line by line."""

    def __init__(self, given: Mapping[str, Tensor], source: str) -> None:
        self.given = given
        self.named = set(re.findall(r"^\s*(\w+) =", source, re.MULTILINE))
        self.graph, self.env = fx.Graph(), dict[str, fx.Node]()
        self.read_at: dict[str, fx.Node] = {}  # constants by name
        self.dtype: torch.dtype | None = None
        self.inputs: list[InputSpec] = []
        self.sizes: dict[str, int] = {}
        self.outputs: list[tuple[str, Any]] = []
        self.spec: pytree.TreeSpec | None = None
        self.gates: dict[str, dict[str, str]] = {}
        self.mixes: dict[str, str] = {}
        self.constants: dict[str, Tensor] = {}
        self.kinds: dict[str, torch.dtype] = {}
        self.origins: dict[str, Origin] = {}
        self.draw = torch.Generator().manual_seed(0)

    def read(self, line: Line) -> None:
        """Takes the next line."""
        if self.dtype is None:
            self.head(line)
        elif line.see("constant"):
            self.tensor(line)
        elif line.see("mark", "=", ahead=1):
            self.node(line)
        elif line.skip("name", "return"):
            self.returned(line)
        elif line.skip("name", "gates"):
            layer, _ = line.word(), line.take("mark", ":")
            self.gates[layer] = dict(line.several(lambda: line.pair(line.constant)))
        elif line.skip("name", "mixes"):
            layer, _ = line.word(), line.take("mark", ":")
            self.mixes[layer] = line.constant()
        else:
            raise BadInput("expected NAME = ..., return, gates, mixes or @CONSTANT")

    def program(self) -> Program:
        """What was read; every constant that is read has to be there."""
        if self.dtype is None or self.spec is None:
            raise BadInput("the program has no line 'program(...) TYPE' or no 'return ...'")
        missing = [name for name in self.read_at if name not in self.constants]
        if missing:
            raise BadInput(f"the program has no line for the constant @{missing[0]}")
        return Program(
            graph=self.graph,
            constants=self.constants,
            inputs=tuple(self.inputs),
            outputs=tuple(name for name, _ in self.outputs),
            out_spec=self.spec,
            sizes=self.sizes,
            dtype=self.dtype,
            gates=self.gates,
            mixes=self.mixes,
            origins=self.origins,
            kinds=self.kinds,
        )

    def head(self, line: Line) -> None:
        """program(INPUT, ...) TYPE."""
        line.take("name", "program")
        line.take("mark", "(")
        self.inputs = line.until(")", lambda: self.input(line))
        self.dtype = dtype(line)

    def input(self, line: Line) -> InputSpec:
        """NAME: TYPE[DIMS], where the node has another name `NAME as NODE: ...`."""
        name = line.word()
        called = line.take("name") if line.skip("name", "as") else name
        line.take("mark", ":")
        kind = dtype(line)
        line.take("mark", "[")
        dims = line.until("]", lambda: self.dim(line))
        self.add(called, self.graph.create_node("placeholder", name, name=called))
        return InputSpec(name, tuple(dims), kind)

    def dim(self, line: Line) -> int | str:
        """A number, or the name of a dynamic size; where it is first seen, NAME=NUMBER."""
        if line.see("number"):
            return line.number()
        size = line.word()
        if line.skip("mark", "="):
            self.sizes[size] = line.number()
        if size not in self.sizes:
            raise BadInput(f"the size '{size}' has no number; write {size}=2, say")
        return size

    def node(self, line: Line) -> None:
        """NAME = OP(ARGUMENTS)."""
        name, _ = line.take("name"), line.take("mark", "=")
        target = operation(line)
        line.take("mark", "(")
        args: list[Any] = []
        kwargs: dict[str, Any] = {}

        def argument() -> None:
            if line.see("mark", "=", ahead=1):
                key, _ = line.take("name"), line.take("mark", "=")
                kwargs[key] = self.operand(line)
            else:
                args.append(self.operand(line))

        line.until(")", argument)
        node = self.graph.create_node("call_function", target, tuple(args), kwargs, name=name)
        node.meta["layer"] = unquoted(line.comment)
        self.add(name, node)

    def add(self, name: str, node: fx.Node) -> None:
        """A node under its name."""
        if name in self.env:
            raise BadInput(f"there are two nodes named '{name}'")
        self.env[name] = node

    def operand(self, line: Line) -> Any:
        """A value that a call or the caller is given."""
        return value(line, self.known, self.attr)

    def known(self, name: str) -> fx.Node:
        """The node of this name, which stands before the line."""
        if name not in self.env:
            raise BadInput(f"no node before this line is named '{name}'")
        return self.env[name]

    def returned(self, line: Line) -> None:
        """NAME=VALUE, ..., and perhaps the structure that they are returned in."""
        self.outputs = line.several(lambda: line.pair(lambda: self.operand(line)))
        tree = dict.fromkeys((name for name, _ in self.outputs), 0)
        self.spec = pytree.tree_structure(structure(line) if line.skip("name", "as") else tree)
        if self.spec.num_leaves != len(self.outputs):
            raise BadInput(f"{len(self.outputs)} outputs, {self.spec.num_leaves} places for them")
        self.graph.output([value for _, value in self.outputs])

    def attr(self, name: str) -> fx.Node:
        """The node of a constant, where it is first read, under a name that no line gives."""
        if name not in self.read_at:
            called = "c_" + re.sub(r"\W", "_", name, flags=re.ASCII)
            while called in self.named:
                called += "_"
            node = self.graph.create_node("get_attr", name, name=called)
            node.meta["layer"] = name.rpartition(".")[0]
            self.read_at[name] = node
        return self.read_at[name]

    def tensor(self, line: Line) -> None:
        """@NAME TYPE[SHAPE], perhaps the type that it counts as, its values, its origin."""
        name = line.constant()
        stored = dtype(line)
        line.take("mark", "[")
        shape = line.until("]", line.number)
        kind = dtype(line) if line.skip("name", "as") else stored
        values: list[float] = []
        while line.at < len(line.tokens):
            values.append(number(line.take("name" if line.see("name") else "number")))
        if name in self.constants:
            raise BadInput(f"there are two constants named '{name}'")
        if kind != stored:
            self.kinds[name] = kind
        if line.comment:
            self.origins[name] = origin(line.comment)
        made = torch.tensor(values, dtype=stored) if values else drawn(shape, stored, self.draw)
        self.constants[name] = self.given.get(name, made.reshape(shape))
