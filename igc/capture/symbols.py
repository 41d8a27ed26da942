"""A limit on the arithmetic that a network does with its own sizes while torch exports it.

torch decides every question on a dynamic size by symbolic algebra. Networks that pad their
features to multiples of a window (Swin: `h + (7 - h % 7) % 7`, stage after stage) nest remainders
in remainders, and one question then takes minutes. Such a network is captured for the image size
of the example instead, its batch still dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Operations in one question. Ordinary networks, also with resizing and pyramids, stay below 50;
# those that nest remainders pass 130 within their first stage.
LIMIT = 100


class TooTangled(Exception):
    """A question on sizes that is longer than `LIMIT`."""


@contextmanager
def bounded_symbols() -> Iterator[None]:
    """Within, a question on sizes of more than `LIMIT` operations raises `TooTangled`."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    original = ShapeEnv.evaluate_expr
    short: set[Any] = set()  # the same few questions come thousands of times

    def evaluate_expr(self: ShapeEnv, orig_expr: Any, *args: Any, **kwargs: Any) -> Any:
        count = getattr(orig_expr, "count_ops", None)
        if count is not None and orig_expr not in short:
            if (found := int(count())) > LIMIT:
                raise TooTangled(f"sizes are computed from sizes in {found} steps")
            short.add(orig_expr)
        return original(self, orig_expr, *args, **kwargs)

    ShapeEnv.evaluate_expr = evaluate_expr  # type: ignore[method-assign]
    try:
        yield
    finally:
        ShapeEnv.evaluate_expr = original  # type: ignore[method-assign]
