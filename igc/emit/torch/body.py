"""The text of a module's forward: one line per node, locals reused as a person would."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from igc.emit.names import Names
from igc.emit.torch.calls import render
from igc.emit.torch.literals import Writer, key_text, scalar
from igc.emit.torch.modules import input_of
from igc.errors import BadInput
from igc.program import Program
from igc.program.nodes import last_readers
from igc.program.schema import bind, is_size, operation
from igc.program.structure import Constant, Kind, Record, is_named

# What `net.py` defines beside the network: a namedtuple may not take its place.
SOURCE_NAMES = frozenset({
    "EXAMPLE", "INPUTS", "Net", "OUTPUTS", "Path", "WEIGHTS", "example_inputs", "load",
    "load_file", "namedtuple", "nn", "tuple",
})  # fmt: skip


class Body:
    """Writes forward for a program whose layers and loose tensors have their attribute names.

    A value whose last reader is the line at hand hands its local name on to the result, and is
    deleted otherwise: memory is freed as early as in a hand-written module.
    """

    def __init__(
        self,
        program: Program,
        layers: Mapping[fx.Node, str],
        where: Mapping[str, str],
    ) -> None:
        self._program = program
        self._layers = layers
        self._where = where
        self._names = Names({"self", "torch", "F", "OrderedDict", "float"})
        #: The namedtuple types and kinds that the outputs come in, by their names in the text.
        self.containers: dict[str, type[Any] | Kind] = {}
        self._text: dict[fx.Node, str] = {}
        self._last = last_readers(program.graph)
        likes = (
            where[str(n.target)]
            for n in program.graph.nodes
            if n.op == "get_attr"
            and str(n.target) in where
            and program.constants[str(n.target)].dtype == program.dtype
        )
        like = next(likes, None)
        self._write = Writer(self._ref, program.dtype, f"self.{like}" if like else None)
        self.inputs = tuple(self._names.new(spec.name, default="x") for spec in program.inputs)

    def _ref(self, node: fx.Node) -> str:
        return self._text[node]

    def text(self) -> str:
        """The whole method, unindented."""
        lines = [f"def forward({', '.join(['self', *self.inputs])}):"]
        lines += [f"    {line}" for line in self._lines()]
        return "\n".join(lines) + "\n"

    def _lines(self) -> Iterator[str]:
        self._text.update(zip(self._program.placeholders, self.inputs, strict=True))
        yield from self._demands()
        for node in self._program.graph.nodes:
            if node.op == "get_attr":
                self._text[node] = f"self.{self._where[str(node.target)]}"
            elif node.op == "call_function":
                yield from self._call(node)
        yield f"return {self._returned()}"

    def _demands(self) -> Iterator[str]:
        """Inputs of a size that the network was not captured for raise; they may not be computed.

        But for the channels of an image, which its first layer counts itself.
        """
        for name, spec in zip(self.inputs, self._program.inputs, strict=True):
            for axis, size in enumerate(spec.dims):
                if isinstance(size, int) and (axis != 1 or len(spec.dims) < 4):
                    text = f"input '{spec.name}' has to have {size} at axis {axis}"
                    yield f"torch._assert({name}.shape[{axis}] == {size}, {scalar(text)})"

    def _call(self, node: fx.Node) -> Iterator[str]:
        attribute = self._layers.get(node)
        if attribute is not None:
            value = f"self.{attribute}({self._text[input_of(node)]})"
        else:
            value = render(self._write, node)
        dying = [
            operand
            for operand in node.all_input_nodes
            if self._last.get(operand) is node and operand.op != "get_attr"
        ]
        dying = [] if is_size(node) else [d for d in dying if not is_size(d)]
        heir = dying[0] if dying else None
        name = self._text[heir] if heir is not None else self._names.new(_local(node))
        self._text[node] = name
        yield f"{name} = {value}"
        dead = [self._text[d] for d in dying[1:]]
        if not node.users:
            dead.append(name)
        if dead:
            yield f"del {', '.join(dead)}"

    def _returned(self) -> str:
        values = [
            self._text[v] if isinstance(v, fx.Node) else scalar(v)
            for v in self._program.graph.output_node().args[0]  # type: ignore[union-attr]
        ]
        return self._structure(pytree.tree_unflatten(values, self._program.out_spec))

    def _structure(self, value: Any) -> str:
        """Text of a nested tuple, list or dict whose leaves are texts already."""
        if isinstance(value, str):
            return value
        if isinstance(value, Constant):
            return scalar(value.value)
        if isinstance(value, Record):
            return self._record(value)
        if value is None:
            return "None"
        if type(value) is tuple:
            inner = ", ".join(self._structure(v) for v in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if type(value) is list:
            return f"[{', '.join(self._structure(v) for v in value)}]"
        if type(value) is dict:
            pairs = ", ".join(f"{key_text(k)}: {self._structure(v)}" for k, v in value.items())
            return "{" + pairs + "}"
        if type(value) is OrderedDict:
            pairs = ", ".join(f"({key_text(k)}, {self._structure(v)})" for k, v in value.items())
            return f"OrderedDict([{pairs}])"
        if is_named(value):
            name = self._container(type(value).__name__, type(value))
            return f"{name}({', '.join(map(self._structure, value))})"
        raise BadInput(
            f"the network returns a {type(value).__name__}; "
            "let it return tensors in tuples, namedtuples, lists, dicts or dataclasses"
        )

    def _record(self, record: Record) -> str:
        """The call that makes an object of a class of the user's own."""
        kind = record.kind
        name = self._container(kind.type.__name__, kind)
        members = [self._structure(v) for v in record.members]
        pairs = zip(kind.keys, members, strict=True)
        if kind.is_dict:
            return f"{name}({{{', '.join(f'{key_text(k)}: {v}' for k, v in pairs)}}})"
        if kind.how == "parts":
            return f"{name}([{', '.join(members)}])"
        return f"{name}({', '.join(f'{k}={v}' for k, v in pairs)})"

    def _container(self, called: str, kind: type[Any] | Kind) -> str:
        """The name in the text of a namedtuple type, or of what makes objects of a kind."""
        for name, known in self.containers.items():
            if known == kind:
                return name
        taken = called in SOURCE_NAMES
        name = self._names.new(called + "Tuple" * taken, default="Outputs")
        self.containers[name] = kind
        return name


def _local(node: fx.Node) -> str:
    """A telling name for a new local: `batch`, `height`, or what the node itself is called."""
    if operation(node) == "aten.sym_size.int":
        args = bind(node)
        source, axis = args["self"], args["dim"]
        if isinstance(source, fx.Node) and source.op == "placeholder":
            return {0: "batch", 2: "height", 3: "width"}.get(axis, "size")
        return "size"
    if is_size(node):
        return "size"
    layer = str(node.meta.get("layer") or "")
    return layer or node.name
