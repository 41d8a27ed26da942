"""Running a stored graph on meta tensors, step by step, so that nothing it asks for can hurt.

A graph is a program: it can ask for a tensor of terabytes, for a billion pieces, or for a number
with a billion digits. Each call is checked before it runs and its result after, on tensors that
have a shape and no memory.
"""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any

import torch
from torch import Tensor, fx

from igc.checkpoint.data.fields import INT64, integer
from igc.errors import BadCheckpoint, one_line, show
from igc.ops.allowed import FROZEN, name_of
from igc.program import InputSpec, Program
from igc.program.nodes import SIZE_OPS
from igc.program.shapes import other_sizes, shapes, single
from igc.program.trusting import require_safe

MAX_BYTES = 1 << 34
FREE_BYTES = 1 << 30  # that constants may come to in any network
MULTIPLE = 16  # of the file's own tensors: masked kernels of several tasks
LARGE = 1 << 20  # smaller values need no adding up
MAX_RANK = 32
MAX_PIECES = 1 << 20
# What no network asks of a single number.
OF_AXES = frozenset({
    "aten.index.Tensor", "aten.index_select.default", "aten.squeeze.dim", "aten.squeeze.dims",
})  # fmt: skip
# torch takes a number for these, and these for numbers; it reads memory where a number is none.
ENUMS = {
    "ScalarType": torch.dtype, "Layout": torch.layout, "MemoryFormat": torch.memory_format,
}  # fmt: skip


def bind(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names in the operation's schema."""
    names = [a.name for a in target._schema.arguments]
    if len(args) > len(names):
        raise BadCheckpoint(f"has {len(args)} arguments, {name_of(target)} takes {len(names)}")
    bound = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in names or key in bound:
            raise BadCheckpoint(f"has no room for an argument {show(key)}")
        bound[key] = value
    return bound


def with_device(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """`kwargs`, with the device named where the operation makes a tensor out of nothing.

    Such an operation would otherwise allocate memory even in a run on meta tensors.
    """
    arguments = target._schema.arguments if isinstance(target, torch._ops.OpOverload) else ()
    if not any(a.name == "device" for a in arguments):
        return kwargs
    if any("Tensor" in str(a.type) for a in arguments):
        return kwargs
    if bind(target, args, kwargs).get("device") is not None:
        return kwargs
    return {**kwargs, "device": torch.device("cpu")}


def check_call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises `BadCheckpoint` for a call that would draw random numbers or change its operands.

    And for numbers in place of types, which torch does not check.
    """
    name = name_of(target)
    if target is operator.getitem:
        if kwargs or len(args) != 2 or not isinstance(args[0], fx.Node):
            raise BadCheckpoint(f"calls {name} on something else than a node")
        integer(args[1], f"the index of {name}", 0, MAX_PIECES)
        return
    if target in SIZE_OPS:
        if kwargs or not all(isinstance(a, fx.Node) or type(a) is int for a in args):
            raise BadCheckpoint(f"calls {name} on something else than sizes")
        return
    bound = bind(target, args, kwargs)
    for argument in target._schema.arguments:
        enum = next((e for word, e in ENUMS.items() if word in str(argument.real_type)), None)
        value = bound.get(argument.name)
        if enum is not None and value is not None and not isinstance(value, enum):
            raise BadCheckpoint(
                f"calls {name} with {argument.name}={show(value)}, no torch.{enum.__name__}"
            )
        if enum is None and isinstance(value, tuple(ENUMS.values())):
            raise BadCheckpoint(
                f"calls {name} with {argument.name}={value}, which is no place for it"
            )
    if name in FROZEN:
        key, value = FROZEN[name]
        default = next(a for a in target._schema.arguments if a.name == key)
        given = bound.get(key, default.default_value if default.has_default_value() else None)
        if isinstance(given, fx.Node) or given != value:
            raise BadCheckpoint(f"calls {name} with {key}={show(given)}, only {value} is allowed")
    if bound.get("pin_memory"):
        raise BadCheckpoint(f"calls {name} with pin_memory, which is for another device")
    if name == "aten.instance_norm.default" and (
        bound.get("use_input_stats") is not False and bound.get("running_mean") is not None
    ):
        raise BadCheckpoint(f"calls {name} in training mode")


def check_runs(program: Program) -> None:
    """Runs the program on meta tensors at its example sizes.

    Raises `BadCheckpoint`, naming the node, for operands that do not fit, for more than 16 GiB
    at a time, for constants far larger than the file's own tensors and for a graph that returns
    something else than tensors.
    """
    values: dict[fx.Node, Any] = {}
    known: dict[Any, Any] = {}  # the branches of a gated network repeat one another's calls
    memory = _Memory(program)
    feed = iter(program.inputs)
    budget = MAX_PIECES
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for node in program.graph.nodes:
            where = f"node '{node.name}'"
            if node.op == "placeholder":
                value: Any = _meta_input(next(feed), program.sizes)
            elif node.op == "get_attr":
                value = _meta_like(program.constants[str(node.target)])
            elif node.op == "output":
                for result in program.output_nodes:
                    if not isinstance(values[result], Tensor):
                        raise BadCheckpoint(f"the output '{result.name}' is no tensor")
                    if not values[result].numel():
                        raise BadCheckpoint(f"the output '{result.name}' has no elements")
                return
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
                budget -= _pieces(node.target, args, kwargs)
                if budget < 0:
                    raise BadCheckpoint(f"{where} splits a tensor into too many pieces")
                key = _key((node.target, args, kwargs))
                if key not in known:
                    known[key] = _call(node, args, kwargs, where)
                value = known[key]
            _check_value(value, where)
            values[node] = value
            memory.take(node, value)


def check_other_sizes(program: Program) -> None:
    """Raises `BadCheckpoint` unless the program runs at the other sizes that compiling asks for.

    Its values have to have the same numbers of axes there.
    """
    if not program.sizes:
        return
    own = shapes(program)
    for sizes in (other_sizes(program), single(program)):
        told = "its graph does not run at " + ", ".join(f"{k}={v}" for k, v in sizes.items())
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = shapes(program, sizes)
        except Exception as error:  # torch raises many kinds for operands that do not fit
            raise BadCheckpoint(f"{told}: {one_line(error, 160)}") from None
        for node, value in found.items():
            if (value.shape is None) != (own[node].shape is None) or (
                value.shape is not None and len(value.shape) != len(own[node].dims)
            ):
                raise BadCheckpoint(f"{told} as it does elsewhere: node '{node.name}'")


class _Memory:
    """How much a run would hold at a time, and how much of what it makes is constant.

    A value lives until its last reader. What depends on no input is folded when the network is
    compiled, so all of it counts, against what the file itself holds.
    """

    def __init__(self, program: Program) -> None:
        self.alive: dict[fx.Node, int] = {}
        self.constant: set[fx.Node] = set()
        held = sum(t.numel() * t.element_size() for t in program.constants.values())
        self.may_make = FREE_BYTES + MULTIPLE * held
        last = {operand: node for node in program.graph.nodes for operand in node.all_input_nodes}
        self.dying: dict[fx.Node, list[fx.Node]] = {}
        for operand, reader in last.items():
            self.dying.setdefault(reader, []).append(operand)

    def take(self, node: fx.Node, value: Any) -> None:
        """Accounts for the value of a node; raises `BadCheckpoint` beyond the limits."""
        size = 0 if node.op == "get_attr" else _bytes(value)
        if node.op == "get_attr" or (
            node.op == "call_function" and self.constant.issuperset(node.all_input_nodes)
        ):
            self.constant.add(node)
            self.may_make -= size
            if self.may_make < 0:
                raise BadCheckpoint(
                    f"node '{node.name}' makes constants far larger than the file's own tensors "
                    f"({size / 2**30:.1f} GiB)"
                )
        self.alive[node] = size
        total = sum(self.alive.values()) if size >= LARGE else 0
        if total > MAX_BYTES:
            raise BadCheckpoint(
                f"node '{node.name}' is one too many: the network holds {total / 2**30:.0f} GiB "
                f"at a time, more than the limit of {MAX_BYTES >> 30} GiB"
            )
        for operand in self.dying.get(node, ()):
            self.alive.pop(operand, None)


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, (tuple, list)) else 0


def _meta_input(spec: InputSpec, sizes: dict[str, int]) -> Tensor:
    shape = spec.shape(sizes)
    where = f"input '{spec.name}'"
    _check_bytes(shape, spec.dtype, where)
    return torch.empty(shape, dtype=spec.dtype, device="meta")


def _meta_like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _call(node: fx.Node, args: Any, kwargs: Any, where: str) -> Any:
    target: Any = node.target
    if target in SIZE_OPS and not all(type(a) is int for a in args):
        raise BadCheckpoint(f"{where} computes with something else than sizes")
    if target is operator.getitem and not isinstance(args[0], (tuple, list)):
        raise BadCheckpoint(f"{where} takes a piece of something that has none")
    _check_axis(target, args, kwargs, where)
    try:
        require_safe(target, args, kwargs)
        return target(*_on_meta(args), **_on_meta(kwargs))
    except Exception as error:  # torch raises many kinds for operands that do not fit
        reason = one_line(error, 160)
        raise BadCheckpoint(f"{where} ({name_of(target)}) cannot run: {reason}") from None


def _key(value: Any) -> Any:
    """What tells a call on meta tensors from another; 1, 1.0 and True are three things."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return type(value), *map(_key, value)
    return type(value), value


def _check_axis(target: Any, args: Any, kwargs: Any, where: str) -> None:
    """Softmax and its kin accept any axis on meta tensors and fail on real ones."""
    if not isinstance(target, torch._ops.OpOverload) or "unsqueeze" in str(target):
        return
    bound = bind(target, args, kwargs)
    operand, dim = bound.get("self"), bound.get("dim")
    single = isinstance(operand, Tensor) and not operand.ndim
    if single and str(target) in OF_AXES:
        raise BadCheckpoint(f"{where} takes an axis of a single number")
    if isinstance(operand, Tensor) and type(dim) is int:
        rank = max(operand.ndim, 1)
        if not -rank <= dim < rank:
            raise BadCheckpoint(f"{where} works along axis {dim} of {operand.ndim}")


def _on_meta(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _on_meta(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_on_meta(v) for v in value]
    return torch.device("meta") if isinstance(value, torch.device) else value


def _pieces(target: Any, args: Any, kwargs: Any) -> int:
    """At most how many tensors the call returns, read off its arguments."""
    returns = target._schema.returns if isinstance(target, torch._ops.OpOverload) else ()
    if not any("List" in str(r.type) for r in returns):
        return 1
    bound = bind(target, args, kwargs)
    if "self" not in bound or not isinstance(bound["self"], Tensor):
        return len(args[0]) if args and isinstance(args[0], list) else 1
    cuts = [v for k, v in bound.items() if k not in ("self", "dim")]
    if cuts and isinstance(cuts[0], list):
        return len(cuts[0]) + 1
    if "split_size" not in bound and cuts:
        return cuts[0] if type(cuts[0]) is int else 1
    longest = max(bound["self"].shape, default=0)
    step = bound.get("split_size", 1)
    return int(longest) // max(step if type(step) is int else 1, 1) + 1


def _check_value(value: Any, where: str) -> None:
    if isinstance(value, Tensor):
        _check_bytes(tuple(value.shape), value.dtype, where)
    elif isinstance(value, (tuple, list)):
        for part in value:
            _check_value(part, where)
    elif value is not None:
        if type(value) is not int:
            raise BadCheckpoint(f"{where} makes a {type(value).__name__}, no tensor and no size")
        if not -INT64 <= value < INT64:
            raise BadCheckpoint(f"{where} makes a size beyond 64 bits")


def _check_bytes(shape: tuple[int, ...], dtype: torch.dtype, where: str) -> None:
    if len(shape) > MAX_RANK:
        raise BadCheckpoint(f"{where} has {len(shape)} axes, more than the limit of {MAX_RANK}")
    total = math.prod(shape) * dtype.itemsize
    if total > MAX_BYTES:
        raise BadCheckpoint(
            f"{where} has the shape {tuple(shape)}: {total / 2**30:.0f} GiB, "
            f"more than the limit of {MAX_BYTES >> 30} GiB"
        )
