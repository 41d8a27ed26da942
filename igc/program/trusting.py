"""Kernels that trust their operands: what has to hold before one may run.

Torch checks most operands in time, on tensors without memory too. A few kernels read as far as one
operand says and another does not reach. What they need is checked here, wherever a program is run:
sizes that fitted in the example need not fit at others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from igc.errors import BadInput
from igc.program.schema import parameters

Bound = Mapping[str, Any]
Check = Callable[[Bound], str]

#: Numbers of axes that a memory format is defined for.
RANKS = {torch.channels_last: 4, torch.channels_last_3d: 5}
GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}


def require_safe(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises `BadInput` for operands on which the kernel would leave its memory."""
    check = _check_of(target)
    if check is None:
        return
    names = [*parameters(target)]
    bound = {name: default for name, (_, default) in parameters(target).items()}
    reason = check({**bound, **dict(zip(names, args, strict=False)), **kwargs})
    if reason:
        raise BadInput(f"{target}: {reason}")


def has_trusting(graph: fx.Graph) -> bool:
    """Whether a call in the graph has operands to be checked at every size."""
    return any(str(node.target) in CHECKS for node in graph.nodes)


def _check_of(target: Any) -> Check | None:
    if not isinstance(target, torch._ops.OpOverload):
        return None
    found = CHECKS.get(str(target))
    return _formats if found is None and "memory_format" in parameters(target) else found


def _formats(bound: Bound) -> str:
    """A layout in memory for images, asked of what has other axes."""
    rank, operand = RANKS.get(bound["memory_format"]), bound.get("self")
    size = bound.get("size", ())  # of what is made of nothing
    axes = operand.ndim if isinstance(operand, Tensor) else len(size)
    if rank is None or axes == rank:
        return ""
    return f"{bound['memory_format']} is for {rank} axes, not for {axes}"


def _recurrent(kind: str) -> Check:
    """The weights of every layer and direction, and what they start from, fit the input."""

    def check(bound: Bound) -> str:
        x, params, layers = bound["input"], bound["params"], bound["num_layers"]
        start = bound["hx"] if kind == "lstm" else [bound["hx"]]
        if not isinstance(x, Tensor) or x.ndim != 3 or type(layers) is not int or layers < 1:
            return "it takes an input of three axes and a layer or more"
        if not _tensors(start) or not _tensors(params) or len(start) != 1 + (kind == "lstm"):
            return "its weights and states are lists of tensors"
        if any(t.dtype != x.dtype or not t.is_floating_point() for t in (x, *start, *params)):
            return "input, weights and states are of different types"
        ways = 1 + bool(bound["bidirectional"])
        each, left = divmod(len(params), layers * ways)
        plain = 4 if bound["has_biases"] else 2
        projected = kind == "lstm" and each == plain + 1
        if left or not (each == plain or projected):
            return f"{len(params)} weights are not those of {layers} layers"
        batch = x.shape[0 if bound["batch_first"] else 1]
        hidden = start[-1].shape[-1] if start[-1].ndim == 3 else 0
        out = params[each - 1].shape[0] if projected and params[each - 1].ndim else hidden
        sizes: list[tuple[Any, ...]] = [(layers * ways, batch, out), (layers * ways, batch, hidden)]
        wanted = sizes[: len(start)]
        for layer in range(layers):
            width = x.shape[-1] if layer == 0 else out * ways
            wide = GATES[kind] * hidden
            one: list[tuple[Any, ...]] = [(wide, width), (wide, out), *[(wide,)] * (plain - 2)]
            wanted += (one + [(out, hidden)] * projected) * ways
        given = [tuple(t.shape) for t in (*start, *params)]
        at = next((i for i, (a, b) in enumerate(zip(given, wanted, strict=True)) if a != b), None)
        return "" if at is None else f"{given[at]} stands where {wanted[at]} belongs"

    return check


def _tensors(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(v, Tensor) for v in values)


CHECKS: Mapping[str, Check] = {f"aten.{kind}.input": _recurrent(kind) for kind in GATES}
"""By operation; one that takes a memory format is checked for that, too."""
