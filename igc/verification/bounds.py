"""Comparing two values of one output, and where the bounds come from.

Let e = max|own - exact| be the rounding error that the reference itself makes on these inputs,
between the precision it is used in and float64, and s its largest magnitude.

float64 leg:  |candidate - exact| <= 1e-10 s  +  16 e (eps64 / eps_own)
    Slicing and folding change nothing but the order of summation, whose error in float64 is some
    1e-13 of s. The second term is that error predicted from the one seen in the own precision; it
    matters only for outputs that cancel to almost nothing.
own leg:      |candidate - own| <= 16 e + 32 eps_own s      (half and bfloat16: 16 e + 2 eps s)
    The candidate rounds as often as the reference, in another order: its error is of the size of
    e, and 16 covers other kernels (fused, blocked, Winograd). The floor is for outputs so short
    that e is zero or tiny by luck. In float64 the bound is never below 1e-10 s.
    One run is one sample of e, and a network that amplifies rounding can be lucky in it. So where
    this refuses, e becomes the largest over four more runs of the reference on inputs whose
    elements are moved by at most one unit of rounding (Monte Carlo arithmetic, Parker 1997,
    restricted to the inputs), and only what exceeds 16 times that, too, is a difference.
    Against onnxruntime, two more runs follow where that refuses, too, in which sigmoids and their
    like have the absolute errors that onnxruntime's have (`igc.onnx_files.approximations`).
    Where e itself exceeds a hundredth of s, the reference has no digits left to compare: saturated
    gates switch over within its rounding, say, as they may on inputs of large scale. What differs
    there by more than the bound is left out with a note, unless the output is compared in this way
    on no other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igc.verification.result import Leg

FLOAT64 = "float64 in torch"  # the way in which two torch networks are held to each other
RELATIVE = 1e-10
MULTIPLE = 16.0
FLOOR = {torch.float16: 2.0, torch.bfloat16: 2.0}
FLOOR_DEFAULT = 32.0
SAMPLES = 4
APPROXIMATED = 2
LOST = 0.01


@dataclass(frozen=True)
class Yardstick:
    """What one output is compared with: the reference's value, and its own rounding error.

    `exact`, the value in float64, is there where it is known; it excuses integers that rounding
    decides. `samples` counts the further runs that `error` covers, `approximated` says that some of
    them had functions only as exact as onnxruntime's.
    """

    value: Tensor
    error: float
    exact: Tensor | None = None
    samples: int = 0
    approximated: bool = False

    @property
    def lost(self) -> bool:
        """Whether the reference's own rounding leaves nothing to compare."""
        return self.error > LOST * largest(self.value)

    def also(self, value: Tensor) -> Yardstick:
        """With the error of one more run of the reference."""
        if self.exact is None:
            return self
        error = max(self.error, rounding(value, self.exact))
        return replace(self, error=error, samples=self.samples + 1)


def rounded_otherwise(inputs: Sequence[Tensor], dtype: torch.dtype) -> Iterator[tuple[Tensor, ...]]:
    """`SAMPLES` times the inputs, every floating element moved by -1, 0 or 1 epsilon of `dtype`.

    Nothing where no input is floating.
    """
    if not any(x.dtype.is_floating_point for x in inputs):
        return
    for seed in range(SAMPLES):
        generator = torch.Generator().manual_seed(seed)
        yield tuple(_moved(x, dtype, generator) for x in inputs)


def _moved(x: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if not x.dtype.is_floating_point:
        return x
    step = torch.randint(-1, 2, x.shape, generator=generator, dtype=torch.float64)
    return (x.double() * (1 + torch.finfo(dtype).eps * step)).to(
        torch.promote_types(x.dtype, dtype)
    )


def rounding(own: Tensor, exact: Tensor) -> float:
    """max|own - exact| over the elements where both are finite; 0 for integers."""
    if not own.dtype.is_floating_point or own.shape != exact.shape:
        return 0.0
    return largest(own.double() - exact.double())


def float64_leg(
    name: str,
    inputs: str,
    exact: Tensor,
    got: Tensor,
    error: float,
    own: torch.dtype,
    rounded: bool = False,
) -> Leg:
    """The structure check, in float64; `error` is the reference's in the precision `own`.

    `rounded` candidates hold folded constants that were stored in `own`: they are exact to no
    more than that, and the bound is that of the own precision.
    """
    way = FLOAT64
    if not exact.dtype.is_floating_point:
        return _whole(name, way, inputs, exact, got, None)
    if rounded:
        bound, source = _own_bound(own, error, largest(exact))
        source += " (the candidate's folded constants are stored in that precision)"
        return _measure(name, way, inputs, exact, got, bound, source)
    ratio = torch.finfo(torch.float64).eps / torch.finfo(own).eps
    bound = RELATIVE * largest(exact) + MULTIPLE * error * ratio
    source = f"float64: {RELATIVE:g} x the output's largest value (order of summation)"
    return _measure(name, way, inputs, exact, got, bound, source)


def own_leg(name: str, way: str, inputs: str, yard: Yardstick, got: Tensor) -> Leg:
    """The deployment check, in the precision that the candidate is used in."""
    value = yard.value
    if not value.dtype.is_floating_point:
        return _whole(name, way, inputs, value, got, yard.exact)
    bound, source = _own_bound(value.dtype, yard.error, largest(value))
    if yard.samples:
        how = "inputs rounded otherwise"
        how += ", functions as exact as onnxruntime's" if yard.approximated else ""
        source += f" (the largest error of {yard.samples + 1} runs, {how})"
    return _measure(name, way, inputs, value, got, bound, source)


def _own_bound(dtype: torch.dtype, error: float, scale: float) -> tuple[float, str]:
    floor = FLOOR.get(dtype, FLOOR_DEFAULT)
    bound = MULTIPLE * error + floor * torch.finfo(dtype).eps * scale
    if dtype == torch.float64:
        source = f"float64: {RELATIVE:g} x the output's largest value (order of summation)"
        return max(bound, RELATIVE * scale), source
    kind = str(dtype).removeprefix("torch.")
    return bound, (
        f"{kind}: {MULTIPLE:g} x the reference's own error against float64 on the same inputs "
        f"+ {floor:g} x epsilon x the output's largest value"
    )


def mismatch(reference: Tensor, candidate: Tensor) -> str:
    """Empty, or why the two cannot be compared element by element."""
    if tuple(reference.shape) != tuple(candidate.shape):
        return f"shape {list(candidate.shape)} instead of {list(reference.shape)}"
    if reference.dtype.is_floating_point != candidate.dtype.is_floating_point:
        return f"type {candidate.dtype} instead of {reference.dtype}"
    return ""


def _measure(
    name: str, way: str, inputs: str, ref: Tensor, got: Tensor, bound: float, source: str
) -> Leg:
    scale = largest(ref)
    problem = mismatch(ref, got)
    if problem:
        return Leg(name, way, inputs, float("inf"), scale, bound, source, problem)
    a, b = ref.double(), got.double()
    gap = (a - b).abs()
    gap[(a == b) | (a.isnan() & b.isnan())] = 0.0  # infinities, too, can be equal
    poisoned = int((~a.isfinite() & b.isfinite()).sum())
    broken = int((~gap.isfinite()).sum()) - poisoned
    if poisoned:
        problem = (
            f"not comparable: the reference is NaN or infinite in {poisoned} of {a.numel()} "
            "elements where the candidate is finite; a gated network multiplies what its gates "
            "drop by 0, and 0 * inf is NaN, while a compiled one never computes it"
        )
    elif broken:
        problem = f"the candidate is NaN or infinite in {broken} of {a.numel()} elements"
    return Leg(name, way, inputs, largest(gap), scale, bound, source, problem)


def _whole(name: str, way: str, inputs: str, ref: Tensor, got: Tensor, exact: Tensor | None) -> Leg:
    """Integers and truth values: equal, except where rounding decides in the reference too."""
    source = "values that are not floating must be equal"
    problem = mismatch(ref, got)
    if problem:
        return Leg(name, way, inputs, float("inf"), 1.0, 0.0, source, problem)
    wrong = ref.long() != got.long()
    if exact is not None and exact.shape == ref.shape:
        wrong &= ref.long() == exact.long()
        source += ", except where the reference's own rounding decides"
    return Leg(name, way, inputs, float(wrong.sum()), float(max(1, ref.numel())), 0.0, source)


def largest(values: Tensor) -> float:
    """The largest finite magnitude, 0 for none."""
    magnitudes = values.double().abs()
    finite = magnitudes[magnitudes.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def ulps_apart(derived: Tensor, value: Tensor, dtype: torch.dtype) -> float:
    """How far a stored value is from the one derived in float64, in units of the last place.

    That of the stored type or of `dtype`, the coarser: a bfloat16 network is stored in float32. It
    counts as at least the smallest normal number of a type with a wide range: what is below may be
    flushed to zero. Whole numbers and truth values are equal, or infinitely far apart.
    """
    if not value.numel():
        return 0.0
    if not value.dtype.is_floating_point:
        return 0.0 if bool((derived == value).all()) else math.inf
    info = max(torch.finfo(value.dtype), torch.finfo(dtype), key=lambda f: f.eps)
    exponent = torch.frexp(derived.abs().clamp_min(info.tiny)).exponent
    unit = torch.ldexp(torch.full_like(derived, info.eps), exponent - 1)
    if info.tiny < 1e-30:
        unit = unit.clamp_min(info.tiny)
    gap = (value.double() - derived).abs() / unit
    return float(torch.where(value.double() == derived, 0.0, gap).nan_to_num(torch.inf).max())
