"""A torch mode that tilts functions with flat stretches, so that no gradient is lost by chance.

In a small network a ReLU is easily off for every input that was drawn, and the gradient then calls
needed weights unneeded; so does a sigmoid or SiLU of large numbers, whose slope underflows. Inside
`NoDeadZones` such a function f becomes f(x) + asinh(x) / 8: what it reads stays the same, f(0)
stays the same (so channels that are exactly zero stay zero), its slope is nowhere zero on a
stretch, and products of many of them do not overflow, as they would with x / 8.

A softmax of numbers far apart is 0 and 1, and its slope underflows too. Its operand is divided by a
number that brings the largest difference to `SPREAD`: what it reads stays the same, and so does
that it does not see a number added to all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

TILT = 0.125
SPREAD = 20.0

# The functions and methods whose derivative is zero on a stretch, if only in float64; in-place
# forms become pure ones.
FLAT: dict[Any, Callable[..., Any]] = {
    torch.relu: torch.relu,
    torch.relu_: torch.relu,
    torch.Tensor.relu: torch.relu,
    torch.Tensor.relu_: torch.relu,
    F.relu: torch.relu,
    F.relu6: F.relu6,
    F.hardtanh: F.hardtanh,
    F.hardswish: F.hardswish,
    F.hardsigmoid: F.hardsigmoid,
    F.threshold: F.threshold,
    F.softshrink: F.softshrink,
    torch.clamp: torch.clamp,
    torch.Tensor.clamp: torch.clamp,
    torch.clip: torch.clamp,
    torch.Tensor.clip: torch.clamp,
    torch.sigmoid: torch.sigmoid,
    torch.sigmoid_: torch.sigmoid,
    torch.Tensor.sigmoid: torch.sigmoid,
    torch.Tensor.sigmoid_: torch.sigmoid,
    F.sigmoid: torch.sigmoid,
    torch.tanh: torch.tanh,
    torch.tanh_: torch.tanh,
    torch.Tensor.tanh: torch.tanh,
    torch.Tensor.tanh_: torch.tanh,
    F.tanh: torch.tanh,
    F.silu: F.silu,
    F.mish: F.mish,
    F.gelu: F.gelu,
}
# As functions of the operand and its dimension.
SOFTMAX = (
    torch.softmax, F.softmax, torch.Tensor.softmax,
    torch.log_softmax, F.log_softmax, torch.Tensor.log_softmax,
)  # fmt: skip
WITH_INPLACE = (F.relu, F.relu6, F.hardswish, F.hardsigmoid, F.silu, F.mish)


class NoDeadZones(TorchFunctionMode):
    """While active, every function of `FLAT` is tilted."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in SOFTMAX:
            return _softmax(func, *args, **kwargs)
        flat = FLAT.get(func)
        if flat is None:
            return func(*args, **kwargs)
        kwargs.pop("inplace", None)
        if func in WITH_INPLACE:
            args = args[:1]
        value = args[0] if args else kwargs["input"]
        if not value.is_floating_point():
            return func(*args, **kwargs)
        return flat(*args, **kwargs) + TILT * torch.asinh(value)


def _softmax(func: Any, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The softmax, or its logarithm, of numbers that are at most `SPREAD` apart.

    Where no gradient passes it is left alone: the shares of a mix may be exactly zero.
    """
    if isinstance(dim, int) and input.requires_grad:
        apart = (input.amax(dim, keepdim=True) - input.amin(dim, keepdim=True)).detach()
        finite = apart.isfinite()
        input = input / torch.where(finite, (apart / SPREAD).clamp(min=1.0), 1.0)
    return func(input, dim, *args, **kwargs)
