"""Values that Python asks of tensors: which calls ask, whose line it was, and the refusal.

A value that the input determines has no place in a static network: the error names the line.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from igc.errors import Refused, line_of, line_outside

# What Python asks of a tensor to go on by its value; torch.export can go on after the others.
DECIDING = frozenset({
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "tolist", "numpy", "__array__",
    "is_nonzero",
})  # fmt: skip
ASKING = DECIDING | {
    "item",
    "nonzero",
    "argwhere",
    "masked_select",
    "unique",
    "unique_consecutive",
    "bincount",
}
UNANSWERED = (
    GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException,
)  # fmt: skip
ASKS = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}
NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def reads_values(graph: fx.Graph) -> bool:
    """Whether something in a graph is computed from a value that was asked for."""
    return any(len(node.users) and _asks(node) for node in graph.nodes)


def _asks(node: fx.Node) -> bool:
    if node.target is torch.ops.aten.index.Tensor:  # by a mask, but not by numbers
        places = [n.meta["val"] for n in node.all_input_nodes[1:]]
        return has_mask(tuple(places))
    return bool(ASKS.intersection(getattr(node.target, "tags", ())))


def refused(line: str) -> Refused:
    """The error for a line of the user's that asks for a value that is no constant."""
    return Refused(
        f"{line} asks for a value that the input or a random number determines; only what depends "
        "on parameters and buffers alone is a constant that Python may decide by"
    )


def has_mask(places: Any) -> bool:
    """Whether an index, perhaps of several axes, has a mask in it."""
    several = places if isinstance(places, tuple) else (places,)
    return any(isinstance(p, Tensor) and is_mask(p) for p in several)


def asking_line(frame: FrameType | None) -> str:
    """The user's line in which a frame is, or from which it was called."""
    return line_outside(frame, NOT_THE_USERS) or "the forward"


def last_line(error: BaseException) -> str:
    """The user's line that an error came from."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if _is_users(frame)]
    return line_of(frames[-1]) if frames else "the forward"


def _is_users(frame: FrameType) -> bool:
    """Whether a frame is neither torch's nor capture's own."""
    return not frame.f_code.co_filename.startswith(NOT_THE_USERS)


def is_mask(value: Tensor) -> bool:
    """Whether a tensor that is an index says of each entry whether it is taken."""
    return value.dtype in (torch.bool, torch.uint8)
