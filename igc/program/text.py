"""A program as text, one line per node: for people, tests and bug reports.

    program(x: f32[batch=2, 4]) f32
      own = linear(x, @own.weight, @own.bias)               # own
      shared = linear(x, @shared.weight, @shared.bias)      # shared
      mixed = where.self(@open, own, shared)
      return seg=mixed
      @own.weight f32[6, 4]
      @open bool[6] 1 1 0 0 1 0

The first line holds the inputs, with the size that a dynamic dim had in the example, and the type
of the network. `aten.` and the overload `.default` are left out, `@` is a constant, what follows
`#` is the layer. Where the outputs are no plain dict of their names, their structure follows:
`return output_0=a, output_1=b as (_, [_])`. After it come the gates and mixes by layer, and the
constants: shape, values where there are few, and behind `#` where they came from.
`w f64[3] as f32` is stored in float64 and counts as float32.

`igc.program.parsing.parse` reads it back. Not told are: what nodes know besides their layer, where
the nodes of constants stand, which channels of its source a constant holds and by which recipe,
which constants share their memory, the program's note.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from igc.errors import BadInput
from igc.program.nodes import layer_of
from igc.program.program import InputSpec, Origin, Program
from igc.program.schema import operation
from igc.program.structure import Constant, Record, is_named

FEW = 16  # elements of a constant whose values are written
SHORT = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8",
    torch.uint8: "u8", torch.bool: "bool", torch.complex64: "c64", torch.complex128: "c128",
}  # fmt: skip
PLAIN = re.compile(r"[^\W\d]\w*(\.\w+)*", re.ASCII)  # a name that stands without quotes
CONSTANT = re.compile(r"[\w.~]+", re.ASCII)  # that of a constant, behind its @
WIDTH = 60  # comments stand below each other where lines are shorter
LEAF = object()  # what a tensor is while a structure is written


def text(program: Program, few: int = FEW) -> str:
    """The program as text; constants of at most `few` elements with their values, exactly.

    Raises `BadInput` for what has no text: an argument or a container of outputs that is none of
    Python's own or torch's types.
    """
    lines = [_head(program)]
    lines += [_node(n) for n in program.graph.nodes if n.op == "call_function"]
    lines.append(_outputs(program))
    for layer, by_task in program.gates.items():
        held = {task: name for task, name in by_task.items() if name in program.constants}
        if held:
            pairs = ", ".join(f"{quoted(t)}={_constant(name)}" for t, name in held.items())
            lines.append(f"gates {quoted(layer)}: {pairs}")
    for layer, name in program.mixes.items():
        if name in program.constants:
            lines.append(f"mixes {quoted(layer)}: {_constant(name)}")
    lines += [_tensor(program, name, few) for name in program.constants]
    return "\n  ".join(lines) + "\n"


def quoted(name: str, plain: re.Pattern[str] = PLAIN) -> str:
    """A name as it stands in the text: in quotes where it is no plain one."""
    return name if plain.fullmatch(name) else repr(name)


def _head(program: Program) -> str:
    seen: set[str] = set()

    def dim(size: int | str) -> str:
        if isinstance(size, int) or size in seen:
            return str(size) if isinstance(size, int) else quoted(size)
        seen.add(size)
        return f"{quoted(size)}={program.sizes[size]}"

    def taken(spec: InputSpec, node: fx.Node) -> str:
        alias = "" if spec.name == node.name else f" as {node.name}"
        return f"{quoted(spec.name)}{alias}: {short(spec.dtype)}[{_list(map(dim, spec.dims))}]"

    inputs = _list(map(taken, program.inputs, program.placeholders))
    return f"program({inputs}) {short(program.dtype)}"


def _node(node: fx.Node) -> str:
    try:
        args = [_value(a) for a in node.args]
        args += [f"{key}={_value(value)}" for key, value in node.kwargs.items()]
    except BadInput as error:
        raise BadInput(f"layer '{layer_of(node)}' {error}") from None
    name = operation(node).removeprefix("aten.").removesuffix(".default")
    line = f"{node.name} = {name}({_list(args)})"
    layer = str(node.meta.get("layer") or "")
    return _commented(line, _words(layer)) if layer else line


def _outputs(program: Program) -> str:
    pairs = zip(program.outputs, program.output_nodes, strict=True)
    line = "return " + _list(f"{quoted(name)}={_value(value)}" for name, value in pairs)
    spec = program.out_spec
    if spec == pytree.tree_structure(dict.fromkeys(program.outputs, 0)):
        return line
    return f"{line} as {_structure(pytree.tree_unflatten([LEAF] * spec.num_leaves, spec))}"


def _tensor(program: Program, name: str, few: int) -> str:
    value = program.constants[name]
    line = f"{_constant(name)} {short(value.dtype)}{list(value.shape)}"
    if program.kind(name) != value.dtype:
        line += f" as {short(program.kind(name))}"
    if value.numel() <= few and not value.is_complex() and not value.is_meta:
        line = " ".join([line, *(_number(n, value.dtype) for n in value.reshape(-1).tolist())])
    origin = program.origins.get(name)
    return line if origin is None else _commented(line, _origin(origin))


def _origin(origin: Origin) -> str:
    """`from SOURCE: TRANSFORM`; without a source the transform alone."""
    source = f"from {quoted(origin.source, CONSTANT)}" if origin.source else ""
    how = _words(origin.transform) if origin.transform else ""
    return ": ".join(part for part in (source, how) if part)


def _number(number: float, dtype: torch.dtype) -> str:
    """The fewest digits that are this number when they are read in its type."""
    if not dtype.is_floating_point:
        return str(int(number))
    if not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
        return str(number)  # -0.0, which as -0 would be a whole number
    tries = (f"{number:.{digits}g}" for digits in range(1, 18))
    return next(t for t in tries if torch.tensor(float(t), dtype=dtype).item() == number)


def _value(value: Any) -> str:
    """An argument of a call."""
    if isinstance(value, fx.Node):
        return _constant(str(value.target)) if value.op == "get_attr" else value.name
    if isinstance(value, list):
        return f"[{_list(map(_value, value))}]"
    if isinstance(value, tuple):
        return _tuple(map(_value, value))
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return str(value)
    if isinstance(value, torch.device):
        return f"device({str(value)!r})"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise BadInput(f"is called with a {type(value).__name__}, which has no text")


def _structure(tree: Any) -> str:
    """The containers that outputs are returned in, `_` for each tensor."""
    if tree is LEAF or tree is None:
        return "None" if tree is None else "_"
    if isinstance(tree, Constant):
        return repr(tree.value)
    if isinstance(tree, Record):
        kind, members = tree.kind, [_structure(v) for v in tree.members]
        pairs = zip(kind.keys, members, strict=True)
        if kind.how == "fields":
            return f"{kind.type.__name__}({_list(f'{f}={v}' for f, v in pairs)})"
        of = _list(f"{k!r}: {v}" for k, v in pairs)
        return f"{{{of}}}" if kind.is_dict else f"[{_list(members)}]"
    if is_named(tree):
        fields = zip(tree._fields, tree, strict=True)
        return f"{type(tree).__name__}({_list(f'{f}={_structure(v)}' for f, v in fields)})"
    if type(tree) in (dict, OrderedDict):
        items = _list(f"{key!r}: {_structure(value)}" for key, value in tree.items())
        return f"{{{items}}}" if type(tree) is dict else f"OrderedDict({{{items}}})"
    if type(tree) in (list, tuple):
        parts = map(_structure, tree)
        return f"[{_list(parts)}]" if type(tree) is list else _tuple(parts)
    raise BadInput(f"the network returns a {type(tree).__name__}, which has no text")


def short(dtype: torch.dtype) -> str:
    """`f32` for `torch.float32`; the name in full for types that are rare."""
    return SHORT.get(dtype) or str(dtype).removeprefix("torch.")


def _constant(name: str) -> str:
    return "@" + quoted(name, CONSTANT)


def _words(said: str) -> str:
    """Words behind a #, in quotes where they would be read as something else."""
    plain = said.isprintable() and said == said.strip() and said[:1] not in ("'", '"')
    return said if plain else repr(said)


def _commented(line: str, words: str) -> str:
    return f"{line:<{WIDTH}}  # {words}"


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _tuple(parts: Iterable[str]) -> str:
    told = list(parts)
    return f"({told[0]},)" if len(told) == 1 else f"({_list(told)})"
