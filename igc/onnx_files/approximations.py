"""Runs in which functions are as exact as onnxruntime computes them, and no more.

Its Sigmoid and Tanh are rational approximations with an absolute error: up to 1.7e-7 and 3.1e-7 in
float32, whatever the value (1.31 on x86; torch's are exact to a few units of the last place). Where
a network lives on small values of them, gates that are all but closed before a norm, say, that is
far more than rounding, and it is no fault of the file.

Its sums are added up in four or more lanes, one after the other, where torch's are added in pairs.
Where all that is added is the same, their errors do not cancel: the mean of 56 x 56 equal numbers
was off by 83 units of epsilon, torch's by 2.
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

#: Ops that add up many numbers, and those that divide by the spread of what they add.
SUMS = (
    "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
)  # fmt: skip
SPREADS = ("var_mean", "var", "std")
NORMS = (
    "native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit",
)  # fmt: skip
#: The error of a sum, in units of epsilon for each number added up. At worst it is half a unit of
#: what a lane holds by then, half its end on average: 1/16 of a unit in four lanes.
EACH = 1 / 16


class Approximated(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds to what these functions return an error that onnxruntime's may have, at random.

    `sums`: to sums and means as well, as large as where all that is added up is the same.
    """

    def __init__(self, seed: int, sums: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sums = sums
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
        if self.sums and name in (*SUMS, *SPREADS, *NORMS):
            return self._summed(func, name, args, kwargs or {})
        operand = args[0].clone() if name in TIMES_OPERAND else None
        result = func(*args, **(kwargs or {}))
        units = ABSOLUTE.get(name, TIMES_OPERAND.get(name))
        if units is None or not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        draw = torch.rand(result.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        error = draw.to(result.device) * units * torch.finfo(result.dtype).eps
        return result.add_(error if operand is None else error * operand.abs())

    def _summed(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The result of a sum, moved by as much as adding one number after the other may do."""
        x, result = args[0], func(*args, **kwargs)
        if not isinstance(x, Tensor) or not x.is_floating_point() or not x.numel():
            return result
        if name in SUMS:
            return self._moved(result, x.numel() // max(1, result.numel()))
        if name in NORMS and not result[1].numel():  # what it divides by was found in training
            return result
        added = x[0].numel() if x.ndim > 1 else x.numel()  # no group is larger, but that of a batch
        result = func(self._moved(x, added), *args[1:], **kwargs)
        return self._shifted(x, result, added) if name in NORMS else result

    def _shifted(self, x: Tensor, result: Any, added: int) -> Any:
        """The result of a norm whose means are off: by the same for all that has one mean."""
        value, mean, inverse = result[:3]
        shift = (self._moved(mean, added) - mean) * inverse
        if value.ndim != mean.ndim:  # by channel, or by sample and group of channels
            shift = shift.reshape(-1, shift.shape[-1])
            shift = shift.repeat_interleave(x.shape[1] // shift.shape[1], 1)
            shift = shift.reshape(*shift.shape, *[1] * (value.ndim - 2))
        return (value + shift.to(value.dtype), *result[1:])

    def _moved(self, x: Tensor, added: int) -> Tensor:
        draw = torch.rand(x.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        units = (EACH * added * torch.finfo(x.dtype).eps) * draw.to(x.device)
        return (x * (1 + units)).to(x.dtype)
