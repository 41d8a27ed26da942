"""The operations that a stored graph may name: pure functions of tensors, and nothing else.

A checkpoint is untrusted input, and ATen also holds operations that read files, change their
operands, draw random numbers or return uninitialised memory. So the set is closed: the operations
that have a rule, and those that `igc.ops.opaque` lists. `tests/ops/reviewed.txt` holds its names as
they were reviewed, and a test compares the two, so that none comes in unread.
Operations whose result hangs on the memory layout (`as_strided`) or on the data
(`nonzero`, `masked_select`) are left out too: igc cannot slice or shape-check them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch

from igc.errors import BadCheckpoint, BadInput
from igc.ops import TABLE
from igc.ops.opaque import WITHOUT_RULE
from igc.program.nodes import SIZE_OPS

Target = Callable[..., Any]

#: Every one by name, such as `aten.relu.default`.
ATEN: tuple[str, ...] = (*TABLE, *(name for names in WITHOUT_RULE.values() for name in names))

FROZEN: dict[str, tuple[str, Any]] = {
    "aten.batch_norm.default": ("training", False),
    "aten.dropout.default": ("train", False),
    "aten.gru.input": ("train", False),
    "aten.lstm.input": ("train", False),
    "aten.rnn_relu.input": ("train", False),
    "aten.rnn_tanh.input": ("train", False),
    "aten.rrelu.default": ("training", False),
    "aten.scaled_dot_product_attention.default": ("dropout_p", 0.0),
}
"""Operations that draw random numbers, or change their operands, unless this argument is so."""

SIZE_NAMES: dict[str, Target] = {f"operator.{name}": op for op, name in SIZE_OPS.items()}
GETITEM = "operator.getitem"


@functools.cache
def allowed() -> dict[str, Target]:
    """Every operation a stored graph may name, by name; what this torch lacks is left out."""
    table: dict[str, Target] = {**SIZE_NAMES, GETITEM: operator.getitem}
    for name in ATEN:
        _, packet, overload = name.split(".")
        found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if isinstance(found, torch._ops.OpOverload):
            table[name] = found
    return table


def lookup(name: str) -> Target:
    """The operation of that name; raises `BadCheckpoint` for one outside the table."""
    found = allowed().get(name)
    if found is None:
        raise BadCheckpoint(
            f"the graph names the operation '{name[:80]}', which a stored graph may not use"
        )
    return found


@functools.cache
def _names() -> dict[Target, str]:
    return {op: name for name, op in allowed().items()}


def name_of(target: Any, layer: str = "") -> str:
    """The name under which `target` is stored; raises `BadInput` for one outside the table."""
    found = _names().get(target)
    if found is None:
        where = f"layer '{layer}'" if layer else "the network"
        raise BadInput(
            f"{where} calls {target}, which a stored graph may not use; "
            "compile the module itself, or rewrite it with ordinary tensor operations"
        )
    return found
