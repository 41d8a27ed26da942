"""The table of draws: kinds of inputs that are unlike the random ones, and what they are made of.

All of them, always the same, are a sample of what a network may be given: networks that agree on
them are not proven equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igc.program import InputSpec
from igc.verification.inputs import Draw, Signature, label

SEED = 20240722

Fill = Callable[[tuple[int, ...], torch.Generator], Tensor]


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def pixels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Whole numbers from 0 to 255."""
    return torch.randint(0, 256, shape, generator=generator).float()


def away_from_zero(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """At least 0.1: no product with its minimum vanishes."""
    return normal(shape, generator).abs() + 0.1


def one_pixel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Zero but for one element of every sample, which is 1."""
    rows = shape[0] if len(shape) > 1 else 1
    found = torch.zeros(rows, math.prod(shape) // rows)
    places = torch.randint(0, found.shape[1], (rows, 1), generator=generator)
    return found.scatter_(1, places, 1.0).reshape(shape)


def alike(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal, the same in every sample."""
    return normal((1, *shape[1:]), generator).expand(shape) if shape else normal(shape, generator)


@dataclass(frozen=True)
class Row:
    """A kind of inputs: its name, the batch to run it at, what floating inputs are filled with.

    `index` fills the others, given one more than their largest value; at random where None.
    `scale` is the largest value: types in which that overflows soon are left out. Without `values`
    a row differs from the main draws in its batch alone. `spoilt` is what one sample is filled
    with, `flat` as `Draw` has it.
    """

    name: str
    batch: int
    fill: Fill
    index: Callable[[int], int] | None = None
    values: bool = True
    spoilt: float | None = None
    flat: bool = False
    scale: float = 1.0


#: In order of worth: where a network takes long, those at the end are left out first.
TABLE = (
    Row("whole 255ths", 3, lambda s, g: pixels(s, g) / 255),
    Row("raw pixels", 4, pixels, scale=255.0),
    Row("constant", 2, lambda s, _: torch.full(s, 0.5), lambda n: n - 1, flat=True),
    Row("positive", 5, away_from_zero),
    Row("zeros", 1, lambda s, _: torch.zeros(s), lambda _: 0, flat=True),
    Row("negative", 6, lambda s, g: -away_from_zero(s, g)),
    Row("random", 7, normal, values=False),
    Row("random", 8, normal, values=False),
    Row("random", 9, normal, values=False),
    Row("one pixel", 2, one_pixel, flat=True),
    Row("equal samples", 3, alike),
    Row("NaN in one sample", 3, normal, spoilt=math.nan),
    Row("infinity in one sample", 3, normal, spoilt=math.inf),
)


def filled(
    signature: Signature, row: Row, sizes: dict[str, int], seed: int, *, blank: bool = False
) -> Draw:
    """The row's inputs at these sizes; `blank`: only what it would be called."""
    generator = torch.Generator().manual_seed(SEED + seed)
    tensors = []
    for spec in signature.inputs:
        shape = spec.shape(sizes)
        if blank:
            tensors.append(torch.empty(shape, device="meta"))
        elif spec.dtype.is_floating_point:
            tensors.append(row.fill(shape, generator).to(spec.dtype))
        elif row.index is not None:
            tensors.append(torch.full(shape, row.index(_limit(signature, spec)), dtype=spec.dtype))
        else:
            tensors.append(_indices(signature, spec, shape, generator))
            if row.fill is alike and shape:
                tensors[-1] = tensors[-1][:1].expand(shape).contiguous()
    told = (
        any(s.dtype.is_floating_point for s in signature.inputs) or row.index or row.fill is alike
    )
    found = Draw(
        label(row.name if told else "random", tensors), tuple(tensors),
        optional=True, once=True, usual=row.name == "random", flat=row.flat,
    )  # fmt: skip
    if row.spoilt is None or blank:
        return found
    spoilt = sizes[str(signature.batch)] // 2
    return replace(found, spoilt=spoilt, clean=found.tensors, tensors=tuple(
        _spoil(x, spec, spoilt, row.spoilt, str(signature.batch))
        for x, spec in zip(tensors, signature.inputs, strict=True)
    ))  # fmt: skip


def _spoil(x: Tensor, spec: InputSpec, sample: int, value: float, batch: str) -> Tensor:
    if not spec.dtype.is_floating_point or not spec.dims or spec.dims[0] != batch:
        return x
    return x.index_fill(0, torch.tensor(sample), value)


def random(signature: Signature, sizes: dict[str, int], scale: float, index: int) -> Draw:
    """Standard normal times `scale` at these sizes, and any index; `index` is the seed."""
    generator = torch.Generator().manual_seed(SEED + index)
    tensors = []
    for spec in signature.inputs:
        shape = spec.shape(sizes)
        if spec.dtype.is_floating_point:
            tensors.append((normal(shape, generator) * scale).to(spec.dtype))
        else:
            tensors.append(_indices(signature, spec, shape, generator))
    return Draw(label("random", tensors, scale), tuple(tensors), usual=True)


def _indices(
    signature: Signature, spec: InputSpec, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    high = max(1, _limit(signature, spec))
    return torch.randint(0, high, shape, generator=generator).to(spec.dtype)


def _limit(signature: Signature, spec: InputSpec) -> int:
    """One more than the largest value that a whole input may have."""
    return 2 if spec.dtype == torch.bool else signature.limits.get(spec.name, 2)
