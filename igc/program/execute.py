"""Running a program on tensors, in its own type or another, with data or on meta tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx

from igc.errors import LintError
from igc.program.dtypes import cast_dtype, cast_to, retyped
from igc.program.meta_calls import remembered
from igc.program.nodes import args_of, last_reads, mapped
from igc.program.program import Program
from igc.program.trusting import require_safe


def execute(
    program: Program,
    inputs: Sequence[Tensor],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    visit: Callable[[fx.Node, Any], None] | None = None,
) -> list[Any]:
    """The flattened outputs of the program on `inputs`.

    `dtype` runs every floating tensor in that type: constants are cast one by one when they are
    read, so a float64 run needs no float64 copy of the network. `device="meta"` computes shapes
    only. `visit(node, value)` sees every value. Values are freed after their last use.
    """
    if len(inputs) != len(program.inputs):
        raise LintError(f"program takes {len(program.inputs)} inputs, got {len(inputs)}")
    dying = last_reads(program.graph)
    feed = iter(inputs)
    values: dict[fx.Node, Any] = {}
    result: list[Any] = []

    def look(operand: fx.Node) -> Any:
        if operand.op == "get_attr":
            return _fetch(program, str(operand.target), dtype, device)
        return values[operand]

    for node in program.graph.nodes:
        if node.op == "placeholder":
            value: Any = cast_to(next(feed), dtype)
        elif node.op == "get_attr":
            if visit is not None:
                visit(node, _fetch(program, str(node.target), dtype, device))
            continue  # fetched where it is read, so that one cast constant lives at a time
        elif node.op == "output":
            result = [look(n) if isinstance(n, fx.Node) else n for n in args_of(node)[0]]
            break
        else:
            value = _call(node, look, dtype, device)
        if visit is not None:
            visit(node, value)
        values[node] = value
        for operand in dying.get(node, ()):
            values.pop(operand, None)
    return result


def _call(
    node: fx.Node,
    look: Callable[[fx.Node], Any],
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Any:
    args, kwargs = mapped((node.args, node.kwargs), look)

    def run() -> Any:
        require_safe(node.target, args, kwargs)
        changed = dtype is not None or device is not None
        own, named = retyped((args, kwargs), dtype, device) if changed else (args, kwargs)
        return cast("Callable[..., Any]", node.target)(*own, **named)

    on_meta = device is not None and str(device) == "meta"
    return remembered((node.target, args, kwargs, dtype), run) if on_meta else run()


def _fetch(
    program: Program, name: str, dtype: torch.dtype | None, device: torch.device | str | None
) -> Tensor:
    if device is not None and str(device) == "meta":
        return _on_meta(program, name, dtype)
    return program.constant(name) if dtype is None else cast_to(program.constants[name], dtype)


def _on_meta(program: Program, name: str, dtype: torch.dtype | None) -> Tensor:
    value = program.constants[name]
    kept = cast_dtype(value.dtype, dtype or program.kind(name))
    return torch.empty_strided(value.shape, value.stride(), dtype=kept, device="meta")
