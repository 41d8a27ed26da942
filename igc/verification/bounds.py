"""Comparing two values of one output, channel by channel, and where the bounds come from.

An output's channels are those of its second axis, or of its last where the second has no fixed
size; an output without such an axis is one channel. Let e be max|own - exact| over a channel, the
rounding error that the reference itself makes there on these inputs, between the precision it is
used in and float64; and s the channel's largest value, in these inputs or, as a share of the whole
output's, usually. Each output is judged in its own type: eps is that type's.

float64 leg:  |candidate - exact| <= 1e-10 s  +  16 e (eps64 / eps_own)
    Slicing and folding change nothing but the order of summation, whose error in float64 is some
    1e-13 of s. The second term is that error predicted from the one seen in the own precision; it
    matters only for channels that cancel to almost nothing.
own leg:      |candidate - own| <= 16 e + 32 eps_own s      (half and bfloat16: 16 e + 2 eps s)
    The candidate rounds as often as the reference, in another order: its error is of the size of
    e, and 16 covers other kernels (fused, blocked, Winograd). The floor is for channels so short
    that e is zero or tiny by luck. In float64 the bound is never below 1e-10 s.
    A channel of one element can have no error by luck, so e counts as no less than the upper median
    of e / s over the output's channels gives for one of its size. What a channel loses because
    large intermediate values cancel in it is in its own e, and loosens no other channel.
    One run is one sample of e, and a network that amplifies rounding can be lucky in it. So where
    this refuses, e becomes the largest over four more runs of the reference on inputs whose
    elements are moved by at most one unit of rounding (Monte Carlo arithmetic, Parker 1997,
    restricted to the inputs), and only what exceeds 16 times that, too, is a difference.
    Against onnxruntime, two more runs follow where that refuses, too, in which sigmoids and their
    like have the absolute errors that onnxruntime's have (`igc.onnx_files.approximations`).
    Where e itself exceeds a hundredth of s, the reference has no digits left to compare: saturated
    gates switch over within its rounding, say, as they may on inputs of large scale. What differs
    there by more than the bound is left out with a note, unless the channel is compared in this way
    on no other inputs.
    Elements in which rounding decides whether they are finite (an overflow, a division by what
    is zero but for rounding) or which whole number they are, are left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from igc.verification.channels import largest_of
from igc.verification.result import Leg
from igc.verification.yardstick import Yardstick

FLOAT64 = "float64 in torch"  # the way in which two torch networks are held to each other
RELATIVE = 1e-10
MULTIPLE = 16.0
FLOOR = {torch.float16: 2.0, torch.bfloat16: 2.0}
FLOOR_DEFAULT = 32.0


def float64_leg(
    name: str, inputs: str, yard: Yardstick, got: Tensor, own: torch.dtype, rounded: bool = False
) -> Leg:
    """The structure check, in float64: `yard` holds the exact value, errors in precision `own`.

    `rounded` candidates hold folded constants that were stored in `own`: they are exact to no
    more than that, and the bound is that of the own precision.
    """
    way = FLOAT64
    if not yard.value.dtype.is_floating_point:
        return _whole(name, way, inputs, yard, got)
    if rounded:
        bound, source = _own_bound(own, yard)
        source += " (the candidate's folded constants are stored in that precision)"
        return _measure(name, way, inputs, yard, got, bound, source)
    ratio = torch.finfo(torch.float64).eps / torch.finfo(own).eps
    bound = RELATIVE * yard.scale + MULTIPLE * yard.spread * ratio
    source = f"float64: {RELATIVE:g} x the channel's largest value (order of summation)"
    return _measure(name, way, inputs, yard, got, bound, source)


def own_leg(name: str, way: str, inputs: str, yard: Yardstick, got: Tensor) -> Leg:
    """The deployment check, in the precision that the candidate is used in."""
    value = yard.value
    if not value.dtype.is_floating_point:
        return _whole(name, way, inputs, yard, got)
    bound, source = _own_bound(value.dtype, yard)
    if yard.samples:
        how = "inputs rounded otherwise"
        how += ", functions as exact as onnxruntime's" if yard.approximated else ""
        source += f" (the largest error of {yard.samples + 1} runs, {how})"
    return _measure(name, way, inputs, yard, got, bound, source)


def _own_bound(dtype: torch.dtype, yard: Yardstick) -> tuple[Tensor, str]:
    info, floor = torch.finfo(dtype), FLOOR.get(dtype, FLOOR_DEFAULT)
    scale = yard.scale
    bound = MULTIPLE * yard.spread + floor * info.eps * scale
    if dtype == torch.float64:
        source = f"float64: {RELATIVE:g} x the channel's largest value (order of summation)"
        return torch.maximum(bound, RELATIVE * scale), source
    if info.tiny < 1e-30:  # runtimes may flush what is below to zero
        bound = torch.where(scale > 0, bound + info.tiny, bound)
    kind, least = (
        str(dtype).removeprefix("torch."),
        f"{floor:g} x epsilon x the channel's largest value",
    )
    if not yard.measured:
        return bound, f"{kind}: {least}, and more where that does not do"
    return bound, (
        f"{kind}: {MULTIPLE:g} x the reference's own error against float64 on the same inputs "
        f"+ {least}"
    )


def beyond(yard: Yardstick, got: Tensor) -> Tensor:
    """For each channel of a floating output, whether it differs by more than its bound."""
    gap = (yard.value.double() - got.double()).abs()
    gap = gap if yard.firm is None else torch.where(yard.firm, gap, 0.0)
    return largest_of(gap, yard.axis) > _own_bound(yard.value.dtype, yard)[0]


def mismatch(reference: Tensor, candidate: Tensor) -> str:
    """Empty, or why the two cannot be compared element by element."""
    if tuple(reference.shape) != tuple(candidate.shape):
        return f"shape {list(candidate.shape)} instead of {list(reference.shape)}"
    if reference.dtype.is_floating_point != candidate.dtype.is_floating_point:
        return f"type {candidate.dtype} instead of {reference.dtype}"
    return ""


def _measure(
    name: str, way: str, inputs: str, yard: Yardstick, got: Tensor, bound: Tensor, source: str
) -> Leg:
    """The leg of the channel that uses up most of its bound."""
    ref, axis = yard.value, yard.axis
    problem = mismatch(ref, got)
    if problem:
        return Leg(name, way, inputs, math.inf, largest(ref), largest(bound), source, problem)
    a, b = ref.double(), got.double()
    gap = (a - b).abs()
    gap[(a == b) | (a.isnan() & b.isnan())] = 0.0  # infinities, too, can be equal
    if yard.firm is not None:
        gap[~yard.firm] = 0.0
        b = torch.where(yard.firm, b, a)
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
    gaps, scale = largest_of(gap, axis), yard.scale
    if not gaps.numel():
        return Leg(name, way, inputs, 0.0, 0.0, 0.0, source, problem)
    worst = int(torch.where(gaps > 0, gaps / bound, 0.0).argmax())
    return Leg(
        name, way, inputs, float(gaps[worst]), float(scale[worst]), float(bound[worst]), source,
        problem, worst if len(gaps) > 1 else None,
    )  # fmt: skip


def _whole(name: str, way: str, inputs: str, yard: Yardstick, got: Tensor) -> Leg:
    """Integers and truth values: equal, except where rounding decides in the reference too."""
    source, ref = "values that are not floating must be equal", yard.value
    problem = mismatch(ref, got)
    if problem:
        return Leg(name, way, inputs, math.inf, 1.0, 0.0, source, problem)
    wrong = ref.long() != got.long()
    if yard.exact is not None:
        source += ", except where the reference's own rounding decides"
    if yard.firm is not None:
        wrong &= yard.firm
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
