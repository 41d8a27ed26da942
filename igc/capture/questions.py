"""What a network asks about its own sizes while torch exports it.

torch decides every question on a dynamic size by symbolic algebra, and goes on as the example
answers it: `if h % 2:` takes one side, `int(h)` is a number from there on. The graph then holds for
the sizes that give the same answers, and for others only if the answer makes no difference. Here
the questions are written down, with the line that asked.

Networks that pad their features to multiples of a window (Swin: `h + (7 - h % 7) % 7`, stage after
stage) nest remainders in remainders, and one question then takes minutes: a limit ends that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from igc.errors import line_of, line_outside
from igc.nn.asked import require_size

# Operations in one question. Ordinary networks, also with resizing and pyramids, stay below 50;
# those that nest remainders pass 130 within their first stage.
LIMIT = 100
_TORCH = str(Path(torch.__file__).parent)
_CAPTURE = str(Path(__file__).parent)  # what watches the trace stands between its frames
_FUNCTIONAL = str(Path(torch.nn.__file__).parent)
# Python asks by these methods of a size; torch's own kernels ask without them, and ask anew
# whenever they run, so that their questions bind nobody.
_BY_PYTHON = {"__bool__", "__int__", "__index__", "__float__", "__len__", "__hash__"}


class TooTangled(Exception):
    """A question on sizes that is longer than `LIMIT`."""


@dataclass(frozen=True)
class Question:
    """A question on sizes, its answer in the example, and the line of Python that it came from.

    `expression` is sympy's, over torch's symbols for the sizes of the inputs. `open` tells that
    Python asked, so that other answers lead elsewhere; else a kernel asked for a number, and torch
    holds the graph for wrong at any other.
    """

    expression: Any
    answer: Any
    line: str
    open: bool = True

    def answered(self, sizes: dict[Any, int]) -> bool:
        """Whether it has the same answer for inputs of these sizes, by symbol."""
        integer: Any = import_module("sympy").Integer  # torch brings it; it has no types
        found = self.expression.xreplace({s: integer(n) for s, n in sizes.items()})
        try:
            return bool(found == self.answer)
        except TypeError:  # sizes for which it cannot be answered
            return False


@contextmanager
def questions() -> Iterator[list[Question]]:
    """Yields the list to which every question of Python's is appended, and every number fixed.

    Within, a question of more than `LIMIT` operations raises `TooTangled`.
    """
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    original = ShapeEnv.evaluate_expr
    short: set[Any] = set()  # the same few questions come thousands of times
    asked: dict[tuple[Any, str], Question] = {}
    found: list[Question] = []

    def evaluate_expr(self: ShapeEnv, orig_expr: Any, *args: Any, **kwargs: Any) -> Any:
        symbolic = bool(getattr(orig_expr, "free_symbols", None))
        if symbolic and orig_expr not in short:
            if (steps := int(orig_expr.count_ops())) > LIMIT:
                raise TooTangled(f"sizes are computed from sizes in {steps} steps")
            short.add(orig_expr)
        answer = original(self, orig_expr, *args, **kwargs)
        if symbolic:
            line, by_python = _asking_line(sys._getframe(1)), True
            if not line and getattr(answer, "is_Number", False):
                line, by_python = line_outside(sys._getframe(1), (_TORCH, _CAPTURE)), False
            if line and (orig_expr, line) not in asked:
                asked[orig_expr, line] = Question(orig_expr, answer, line, by_python)
                found.append(asked[orig_expr, line])
        return answer

    ShapeEnv.evaluate_expr = evaluate_expr  # type: ignore[method-assign]
    try:
        yield found
    finally:
        ShapeEnv.evaluate_expr = original  # type: ignore[method-assign]


def _asking_line(frame: FrameType | None) -> str:
    """The line of Python that asked, as `net.py:31 'if h % 2:'`; empty where a kernel did.

    Functions and layers of torch.nn count as Python: what stands in them is not in the graph.
    """
    by_python = False
    while frame is not None:
        code = frame.f_code
        own = code.co_filename.startswith((_TORCH, _CAPTURE))
        if by_python and code is require_size.__code__:
            return str(frame.f_locals["why"])  # a gated network tells who asked when it was traced
        if own and not code.co_filename.startswith(_FUNCTIONAL):
            if code.co_name in _BY_PYTHON:
                by_python = True
            elif by_python:
                return ""
        elif not own and "torch/" not in code.co_filename and by_python:
            return line_of(frame)
        elif not by_python:
            return ""
        frame = frame.f_back
    return ""
