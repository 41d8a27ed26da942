"""`gate`: any torch.fx-traceable backbone -> a gated multi-task network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn.asked import demands
from igc.nn.both_modes import trace_both_modes
from igc.nn.gate_points import At
from igc.nn.gates import OPEN
from igc.nn.hooks import check_parameters
from igc.nn.network import GatedNetwork
from igc.nn.replicate import SHARED
from igc.nn.wrappers import check_modules, unwrapped


def gate(
    backbone: nn.Module,
    heads: Mapping[str, nn.Module],
    at: At = "block",
    *,
    example_inputs: tuple[Any, ...] | Tensor | None = None,
    init: float = OPEN,
) -> GatedNetwork:
    """Returns `backbone` gated for the tasks in `heads`, in training mode.

    The backbone's graph is built once for the shared branch and once per task; behind each gate
    point stand one gate per task and one mix, and every later use of the point, residual and
    multi-scale ones too, reads the gated value. Each head is called with its task's features as
    the backbone returns them: a tensor, or a list, tuple or dict of tensors.

    `at`: the gate points. "block": the output of each residual block; "layer": of each
        convolution-norm-activation unit; a list of module names: their outputs; or a predicate
        `(name, module) -> bool`. `find_points` has the exact rules. Gates have one alpha per
        channel: axis 1 of a convolution's features, the last axis of a linear layer's.
    `example_inputs`: needed only where the backbone's Python depends on shapes, or a channel
        count cannot be read off the layers. What Python decides by their shapes (an `if`, a
        `range`) is decided for good: where that makes a difference at other sizes, the gated
        network takes the example's size alone along that axis, and says which line decided.
    `init`: the first alpha of every gate. At 1 all gates are open: every task starts as its own
        single-task network.

    The backbone is not changed: all branches start as copies of its weights. Wrappers of torch
    (in parallel, compiled, averaged) are taken off. The heads are used as they are. Raises
    BadInput, saying what to do, when the backbone cannot be traced, a layer cannot be gated or a
    task's name is not usable. Source: InterroGate, equations 2-5.
    """
    _check(backbone, heads)
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    backbone = unwrapped(backbone)
    check_modules(backbone)
    check_parameters(backbone)
    modes = trace_both_modes(backbone, example_inputs, at)
    wanted = demands(backbone, modes.evaluation, example_inputs)
    return GatedNetwork(modes, heads, init, wanted).train()


def _check(backbone: object, heads: object) -> None:
    if not isinstance(backbone, nn.Module):
        raise BadInput(f"the backbone must be an nn.Module, not {type(backbone).__name__}")
    if not isinstance(heads, Mapping) or not heads:
        raise BadInput("heads must map at least one task to its head: {'seg': head, ...}")
    for task, head in heads.items():
        if not isinstance(task, str) or not task.strip():
            raise BadInput(f"a task's name must be a non-empty string, not {task!r}")
        if task == SHARED:
            raise BadInput(f"no task can be named '{SHARED}': that is the shared branch")
        if not isinstance(head, nn.Module):
            kind = type(head).__name__
            raise BadInput(f"the head of task '{task}' must be an nn.Module, not {kind}")
