"""What a torch pickle holds, with everything foreign in it as an inert stand-in.

People's checkpoints hold an `argparse.Namespace`, a date, an enum or a config beside the tensors.
Unpickling one of these calls whatever the file names. Here nothing is called: igc follows the
opcodes itself, imports no name, and makes of them five kinds of value alone: text, numbers and
containers; `Call`, a name that the file mentions; `Foreign`, whatever came of a name that igc does
not know; and `Storage` and `Stored`, notes of where a tensor lies, which `mapped.py` maps. Every
opcode makes at most one small value, so memory is bounded by the size of the pickle.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from igc.checkpoint.data.values import DTYPES
from igc.checkpoint.scan import MAX_OPCODES
from igc.errors import BadCheckpoint

STORAGES: dict[str, torch.dtype | None] = {
    "BFloat16": torch.bfloat16, "Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8,
    "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64, "Double": torch.float64,
    "Float": torch.float32, "Half": torch.float16, "Int": torch.int32, "Long": torch.int64,
    "Short": torch.int16,
}  # fmt: skip
MAX_DIMS = 64


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A name that the file mentions, never imported."""

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Foreign:
    """What a foreign name made; `name` says which. Nothing is known of it, nothing was run."""

    name: str

    def __repr__(self) -> str:
        return ascii(self.name)[1:-1]


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A storage of the archive: its entry, and the type of its numbers, None where untyped."""

    key: str
    dtype: torch.dtype | None


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """A tensor that lies in the archive."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Items(dict[Any, Any]):
    """A dict, and the `_metadata` that torch hangs on an ordered one."""

    _metadata: Any = None


def read_inert(pickle: bytes) -> tuple[Any, list[str]]:
    """The value of a pickle, and the foreign names that it called, in order.

    Keys of dicts that are no text are stand-ins too: hashing what a file made can take for ever.
    Raises `BadCheckpoint` for a pickle that is damaged.
    """
    machine = _Machine()
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(pickle)):
            if count > MAX_OPCODES:
                raise BadCheckpoint("its index has too many entries")
            machine.step(opcode.name, value)
        return machine.stack.pop(), list(machine.called)
    except BadCheckpoint:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise BadCheckpoint(
            f"it is damaged: its index breaks off ({type(error).__name__})"
        ) from None


class _Machine:
    """The unpickler's stack, marks and memo; `step` follows one opcode."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.called: dict[str, None] = {}

    def step(self, name: str, value: Any) -> None:
        if name in _NUMBERS:
            self.stack.append(value if -(1 << 63) <= value < 1 << 63 else Foreign("a huge int"))
        elif name in _AS_THEY_ARE:
            self.stack.append(value)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in _STEPS:
            _STEPS[name](self, value)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise BadCheckpoint(f"its index uses the opcode {name}, which torch never writes")

    def items(self) -> list[Any]:
        """What was pushed since the last mark."""
        found, self.stack = self.stack, self.marks.pop()
        return found

    def mark(self, _value: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def get(self, value: Any) -> None:
        self.stack.append(self.memo[int(value)])

    def put(self, value: Any) -> None:
        self.memo[len(self.memo) if value is None else int(value)] = self.stack[-1]

    def pop(self, _value: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def pop_mark(self, _value: Any) -> None:
        self.items()

    def dup(self, _value: Any) -> None:
        self.stack.append(self.stack[-1])

    def name(self, value: Any) -> None:
        self.stack.append(Call(str(value).replace(" ", ".", 1)))

    def stack_name(self, _value: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Call(f"{module}.{name}" if _texts(module, name) else "a name"))

    def tuple_of(self, count: int) -> None:
        taken = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(taken)))

    def marked_tuple(self, _value: Any) -> None:
        found = tuple(self.items())
        self.stack.append(found)

    def marked_list(self, _value: Any) -> None:
        found = self.items()
        self.stack.append(found)

    def marked_dict(self, _value: Any) -> None:
        found = self.items()
        self.stack.append(Items())
        self.fill(found)

    def marked_set(self, _value: Any) -> None:
        self.items()
        self.stack.append(Foreign("set"))

    def append(self, _value: Any) -> None:
        self.extend([self.stack.pop()])

    def appends(self, _value: Any) -> None:
        self.extend(self.items())

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Foreign):
            raise BadCheckpoint("its index appends to what is no list")

    def set_item(self, _value: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.fill([key, value])

    def set_items(self, _value: Any) -> None:
        self.fill(self.items())

    def fill(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Items):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[key if isinstance(key, str) else Foreign(_called(key))] = value
        elif not isinstance(target, Foreign):
            raise BadCheckpoint("its index sets items of what is no dict")

    def add_items(self, _value: Any) -> None:
        self.items()
        if not isinstance(self.stack[-1], Foreign):
            raise BadCheckpoint("its index adds to what is no set")

    def storage(self, _value: Any) -> None:
        self.stack.append(_storage(self.stack.pop()))

    def build(self, _value: Any) -> None:
        """A state for the value before: an ordered dict keeps its `_metadata`, the rest goes."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Items) and isinstance(state, dict):
            target._metadata = state.get("_metadata", target._metadata)

    def reduce(self, _value: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        self.make(called, arguments)

    def reduce_named(self, _value: Any) -> None:
        """NEWOBJ_EX: a class, its arguments and named ones."""
        self.stack.pop()
        self.reduce(None)

    def instance(self, value: Any) -> None:
        self.items()
        self.make(Call(str(value).replace(" ", ".", 1)), ())

    def object(self, _value: Any) -> None:
        called = self.items()[0]
        self.make(called, ())

    def make(self, called: Any, arguments: Any) -> None:
        """A call, which is not made: a note of a tensor, an empty dict, or a stand-in."""
        name = called.name if isinstance(called, (Call, Foreign)) else type(called).__name__
        rebuild = _REBUILD.get(name) if isinstance(called, Call) else None
        made = rebuild(arguments) if rebuild and isinstance(arguments, tuple) else None
        if made is None:
            made = Foreign(name)
            if name not in _HARMLESS:
                self.called.setdefault(name)
        self.stack.append(made)


def _texts(*values: Any) -> bool:
    return all(isinstance(v, str) for v in values)


def _called(value: Any) -> str:
    """A value that is no text as a message may show it, without looking into it."""
    plain = value is None or isinstance(value, (bool, int, float))
    return ascii(value) if plain else f"a {type(value).__name__}"


def _storage(value: Any) -> Storage:
    """A persistent id: ("storage", its class, its entry, its device, its length)."""
    if isinstance(value, tuple) and len(value) == 5:
        mark, kind, key, _, _ = value
        if mark == "storage" and isinstance(key, str) and isinstance(kind, Call):
            if kind.name == "torch.storage.UntypedStorage":
                return Storage(key, None)
            plain = kind.name.removeprefix("torch.").removesuffix("Storage")
            if plain in STORAGES and kind.name == f"torch.{plain}Storage":
                return Storage(key, STORAGES[plain])
    raise BadCheckpoint("its index names a storage in a form torch never writes")


def _tensor(arguments: tuple[Any, ...]) -> Stored | None:
    """`torch._utils._rebuild_tensor` and `_v2`: the storage says the type.

    None for a storage without one, and for a conjugate or negative view: the argument at 6.
    """
    if len(arguments) < 4 or not isinstance(arguments[0], Storage) or any(arguments[6:7]):
        return None
    dtype = arguments[0].dtype
    return None if dtype is None else _stored(arguments, dtype)


def _typed_tensor(arguments: tuple[Any, ...]) -> Stored | None:
    """`torch._utils._rebuild_tensor_v3`: the argument at 6 says the type."""
    if len(arguments) < 7 or not isinstance(arguments[0], Storage) or any(arguments[7:8]):
        return None
    named = arguments[6].name if isinstance(arguments[6], Call) else ""
    dtype = DTYPES.get(named.removeprefix("torch."))
    return None if dtype is None else _stored(arguments, dtype)


def _stored(arguments: tuple[Any, ...], dtype: torch.dtype) -> Stored:
    storage, offset, shape, stride = arguments[:4]
    if all(isinstance(v, tuple) and len(v) <= MAX_DIMS for v in (shape, stride)):
        numbers = (offset, *shape, *stride)
        if len(shape) == len(stride) and all(type(n) is int and n >= 0 for n in numbers):
            return Stored(storage, dtype, offset, shape, stride)
    raise BadCheckpoint("its index describes a tensor in a form torch never writes")


def _parameter(arguments: tuple[Any, ...]) -> Stored | None:
    return arguments[0] if arguments and isinstance(arguments[0], Stored) else None


def _typed(arguments: tuple[Any, ...]) -> Any:
    """`torch._tensor._rebuild_from_type_v2(rebuild, type, arguments, state)` of a plain tensor."""
    if len(arguments) < 3 or not all(isinstance(a, Call) for a in arguments[:2]):
        return None
    rebuild, kind, inner = arguments[0].name, arguments[1].name, arguments[2]
    plain = kind in ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter")
    if not plain or rebuild not in _TENSORS or not isinstance(inner, tuple):
        return None
    return _TENSORS[rebuild](inner)


def _size(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple) else None


def _mapped(arguments: tuple[Any, ...]) -> Items | None:
    """An empty dict; the factory of a `defaultdict` is left out, pairs are never hashed."""
    return Items() if all(isinstance(a, Call) for a in arguments) else None


_TENSORS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_REBUILD: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": _size,
    "collections.OrderedDict": _mapped,
    "collections.defaultdict": _mapped,
}
_HARMLESS = frozenset({"_codecs.encode", "torch.device", "builtins.set", "__builtin__.set"})

_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"})
_AS_THEY_ARE = frozenset({
    "BINFLOAT", "FLOAT", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "UNICODE",
    "SHORT_BINSTRING", "BINSTRING", "STRING",
})  # fmt: skip
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": Items, "EMPTY_SET": lambda: Foreign("set"),
    "BINBYTES": lambda: Foreign("bytes"), "SHORT_BINBYTES": lambda: Foreign("bytes"),
    "BINBYTES8": lambda: Foreign("bytes"),
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark, "DUP": _Machine.dup,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put, "GLOBAL": _Machine.name, "STACK_GLOBAL": _Machine.stack_name,
    "TUPLE1": lambda m, _: m.tuple_of(1), "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3), "TUPLE": _Machine.marked_tuple,
    "LIST": _Machine.marked_list, "DICT": _Machine.marked_dict,
    "FROZENSET": _Machine.marked_set, "APPEND": _Machine.append, "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items, "BINPERSID": _Machine.storage, "BUILD": _Machine.build,
    "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce, "NEWOBJ_EX": _Machine.reduce_named,
    "INST": _Machine.instance, "OBJ": _Machine.object,
}  # fmt: skip
