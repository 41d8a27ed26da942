"""What a torch pickle would do, found by reading its opcodes and running none of them.

`torch.load(weights_only=True)` runs no foreign code, but what it allows can still be made to
allocate terabytes (`bytearray`, `torch.Tensor`, `UntypedStorage` called with a number) or to
hash for hours (tuples of tuples as keys). A checkpoint needs none of that.
"""

from __future__ import annotations

import pickletools
from typing import Any

from igc.checkpoint.data.values import DTYPES
from igc.errors import BadCheckpoint

MAX_OPCODES = 3_000_000
MAX_TUPLES = 3

STORAGES = (
    "BFloat16", "Bool", "Byte", "Char", "ComplexDouble", "ComplexFloat", "Double", "Float", "Half",
    "Int", "Long", "Short",
)  # fmt: skip
GLOBALS = frozenset({
    "collections OrderedDict", "torch Size", "torch device",
    "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v2",
    *(f"torch {name}Storage" for name in STORAGES),
    *(f"torch {name}" for name in DTYPES),
})  # fmt: skip

_PUSH = frozenset({
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINSTRING", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET",
})  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DROP_ONE = frozenset({"APPEND", "BUILD", "REDUCE"})


def scan(pickle: bytes) -> None:
    """Raises `BadCheckpoint` for a pickle of more than tensors, containers, text and numbers."""
    walk = _Walk()
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(pickle)):
            if count > MAX_OPCODES:
                raise BadCheckpoint("its index has too many entries")
            walk.step(opcode.name, value)
    except BadCheckpoint:
        raise
    except (ValueError, IndexError, KeyError, UnicodeError) as error:
        raise BadCheckpoint(
            f"it is damaged: its index breaks off ({type(error).__name__})"
        ) from None


class _Walk:
    """The stack of the unpickler with one number per value: the depth of tuples in it."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[list[int]] = []
        self.memo: dict[int, int] = {}

    def step(self, name: str, value: Any) -> None:
        """Follows one opcode."""
        if name in _PUSH:
            if name == "LONG1" and not -(1 << 63) <= value < 1 << 63:
                raise BadCheckpoint("its index holds a number beyond 64 bits")
            self.stack.append(0)
        elif name == "GLOBAL":
            _check_global(str(value))
            self.stack.append(0)
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[value])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[value] = self.stack[-1]
        elif name in _DROP_ONE:
            self.stack.pop()
        elif name == "PROTO":
            if value != 2:
                raise BadCheckpoint(f"its index is in pickle protocol {value}, torch writes 2")
        elif name == "MARK":
            self.marks.append(self.stack)
            self.stack = []
        elif name in _TUPLES:
            self._tuple([self.stack.pop() for _ in range(_TUPLES[name])])
        else:
            self._container(name)

    def _container(self, name: str) -> None:
        if name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, self.stack = self.stack, self.marks.pop()
            if name == "TUPLE":
                self._tuple(items)
            elif name == "SETITEMS":
                _check_keys(items[::2])
        elif name == "SETITEM":
            self.stack.pop()
            _check_keys([self.stack.pop()])
        elif name == "BINPERSID":
            if self.stack.pop() != 1:
                raise BadCheckpoint("its index names a storage in a form torch never writes")
            self.stack.append(0)
        elif name != "STOP":
            raise BadCheckpoint(f"its index uses the opcode {name}, which torch never writes")

    def _tuple(self, items: list[int]) -> None:
        depth = 1 + max(items, default=0)
        if depth > MAX_TUPLES:
            raise BadCheckpoint("its index nests tuples deeper than torch ever does")
        self.stack.append(depth)


def _check_keys(keys: list[int]) -> None:
    if any(keys):
        raise BadCheckpoint("its index has a tuple for a key")


def _check_global(found: str) -> None:
    if found not in GLOBALS:
        called = ascii(found)[1:-1].replace(" ", ".", 1)[:80]
        raise BadCheckpoint(
            f"it cannot be read without running {called}, which igc never does; "
            "save the network with igc.save, or its state_dict alone"
        )
