"""Runs in which functions are as exact as onnxruntime computes them, and no more.

Its Sigmoid and Tanh are rational approximations with an absolute error: up to 1.7e-7 and 3.1e-7 in
float32, whatever the value (1.31 on x86; torch's are exact to a few units of the last place). Where
a network lives on small values of them, gates that are all but closed before a norm, say, that is
far more than rounding, and it is no fault of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from igc.program.schema import base_name

#: Errors of a function, in units of epsilon: of 1, or of its operand where it is a product with it.
ABSOLUTE = {"sigmoid": 2.0, "tanh": 3.0, "elu": 1.0, "celu": 1.0, "selu": 1.0, "hardsigmoid": 1.0}
TIMES_OPERAND = {"silu": 2.0, "gelu": 3.0, "mish": 3.0, "hardswish": 1.0}


class Approximated(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds to what these functions return an error that onnxruntime's may have, at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The result of `func`, moved where it is one of these functions."""
        name = base_name(func)
        operand = args[0].clone() if name in TIMES_OPERAND else None
        result = func(*args, **(kwargs or {}))
        units = ABSOLUTE.get(name, TIMES_OPERAND.get(name))
        if units is None or not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        draw = torch.rand(result.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        error = draw.to(result.device) * units * torch.finfo(result.dtype).eps
        return result.add_(error if operand is None else error * operand.abs())
