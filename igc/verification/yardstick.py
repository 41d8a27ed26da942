"""What an output is compared with, and how far off that is itself, channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from igc.verification.channels import Axis, largest_of

SAMPLES = 4
LOST = 0.01


@dataclass(frozen=True)
class Yardstick:
    """What one output is compared with: the reference's value, and its own rounding errors.

    `error` has one number per channel (axis `axis`), `exact` is the value in float64, where known.
    `firm`, where given, are the elements that count: rounding decides neither which whole number
    they are nor whether they are finite. `share` is how large each channel usually is, of the
    output's largest value; without it this value tells. `measured` is false where `error` was left
    at 0 as float64 was not asked. `samples` counts the further runs that `error` covers,
    `approximated` says that some of them had functions only as exact as onnxruntime's.
    """

    value: Tensor
    error: Tensor
    exact: Tensor | None = None
    firm: Tensor | None = None
    axis: Axis = 1
    share: Tensor | None = field(default=None, repr=False)
    measured: bool = True
    samples: int = 0
    approximated: bool = False

    @cached_property
    def scale(self) -> Tensor:
        """How large each channel is: in this value, or usually where that is more.

        A channel of few elements may be near zero by luck; its errors are not smaller for that.
        """
        counted = self.value if self.firm is None else torch.where(self.firm, self.value, 0)
        found = largest_of(counted, self.axis)
        if self.share is None or self.share.shape != found.shape:
            return found
        return torch.maximum(found, self.share * found.max()) if found.numel() else found

    @cached_property
    def spread(self) -> Tensor:
        """The error of each channel, and no less than is usual for one of its size.

        A single run may hit a channel of few elements exactly, by luck; all of them it does not.
        """
        scale = self.scale
        if self.error.shape != scale.shape or not bool((scale > 0).any()):
            return self.error
        shares = (self.error[scale > 0] / scale[scale > 0]).sort().values
        usual = shares[len(shares) // 2].clamp(max=LOST)
        return torch.maximum(self.error, usual * scale)

    @cached_property
    def lost(self) -> Tensor:
        """For each channel, whether the reference's own rounding leaves nothing to compare."""
        return self.error > LOST * self.scale

    def only(self, elements: Tensor) -> Yardstick:
        """With no more than these elements to compare: a mask, or one of channels."""
        if elements.shape != self.value.shape:
            shape = [1] * self.value.ndim
            if self.axis is not None and self.value.ndim > 1:
                shape[self.axis] = -1
            elements = elements.reshape(shape).expand(self.value.shape)
        return replace(self, firm=elements if self.firm is None else self.firm & elements)

    def also(self, value: Tensor, exact: Tensor | None = None) -> Yardstick:
        """With the error of one more run of the reference."""
        exact = self.exact if exact is None else exact
        if exact is None:
            return self
        firm = settled(value, exact)
        return replace(
            self,
            error=torch.maximum(self.error, rounding(value, exact, self.axis)),
            firm=firm if self.firm is None else firm & self.firm,
            samples=self.samples + 1,
        )


def yardstick(value: Tensor, exact: Tensor, axis: Axis = 1) -> Yardstick:
    """What to compare with, where the value in float64 is known."""
    error, firm = rounding(value, exact, axis), settled(value, exact)
    return Yardstick(value, error, exact, firm if not bool(firm.all()) else None, axis)


def settled(own: Tensor, exact: Tensor) -> Tensor:
    """The elements in which rounding decides nothing: equal whole numbers, or both finite or not.

    One may overflow where the other does not, or divide by a zero that the other misses.
    """
    if own.shape != exact.shape:
        return torch.ones_like(own, dtype=torch.bool)
    if own.dtype.is_floating_point:
        return own.isfinite() == exact.isfinite()
    return own.long() == exact.long()


def rounding(own: Tensor, exact: Tensor, axis: Axis = 1) -> Tensor:
    """max|own - exact| of each channel over the elements where both are finite; 0 for integers."""
    if not own.dtype.is_floating_point or own.shape != exact.shape:
        return torch.zeros_like(largest_of(own, axis))
    return largest_of(own.double() - exact.double(), axis)


def rounded_otherwise(
    inputs: Sequence[Tensor], dtype: torch.dtype, zeros: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """`SAMPLES` times the inputs, every floating element moved by -1, 0 or 1 epsilon of `dtype`.

    `zeros`: a zero, which has no last digit, is moved by that of the tensor's largest value, of 1
    where all are zero. Inputs that are hardly more than zeros would be rounded alike in every run
    otherwise. Nothing where no input is floating.
    """
    if not any(x.dtype.is_floating_point for x in inputs):
        return
    for seed in range(SAMPLES):
        generator = torch.Generator().manual_seed(seed)
        yield tuple(_moved(x, dtype, generator, zeros) for x in inputs)


def _moved(x: Tensor, dtype: torch.dtype, generator: torch.Generator, zeros: bool) -> Tensor:
    if not x.dtype.is_floating_point:
        return x
    step = torch.randint(-1, 2, x.shape, generator=generator, dtype=torch.float64)
    wide = x.double()
    unit = (float(largest_of(wide, None)) or 1.0) if zeros else 0.0
    moved = wide + torch.where(wide == 0, unit, wide) * torch.finfo(dtype).eps * step
    return torch.where(moved.isnan(), wide, moved).to(torch.promote_types(x.dtype, dtype))
