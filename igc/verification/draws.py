"""The table of draws: every set of inputs that igc chooses, always the same ones.

The main draws are run in every way. Those of `TABLE` are there to be unlike them: other batches,
what pictures hold, constants, broken samples. They are small, and run in one way. All together
are a sample of what a network may be given: networks that agree on them are not proven equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from igc.program import InputSpec
from igc.verification.inputs import Draw, Inputs, Signature, given_draws, label

SEED = 20240722
LARGE = {torch.float16: 4.0, torch.bfloat16: 4.0}
LARGE_DEFAULT = 30.0
PICTURES = 3  # the draws of the table together cost as much as so many pictures at the main sizes
AT_LEAST = 1_000_000_000  # MACs that they may cost, whatever a picture does

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
    `scale` is the largest value: types in which that overflows soon are left out. `odd` rows differ
    from the main draws in their batch, and in their values only where `values` is set.
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


def draws(
    signature: Signature, given: Inputs = None, *, only: bool = False
) -> tuple[list[Draw], list[str]]:
    """The sets of inputs to run, and notes on what could not be varied.

    The user's own (`given`) come first, and alone with `only`; then the main draws and the table.
    Raises `BadInput` where the user's do not fit.
    """
    found, notes = ([], []) if given is None else given_draws(signature, given)
    if given is None or not only:
        main, more = main_draws(signature), table(signature)
        if given is not None:  # whoever gives inputs may know that the network takes no others
            main = [replace(draw, optional=True) for draw in main]
        found += [*main, *more.draws]
        notes += [*_notes(signature), *more.notes]
    by_label = {draw.label: draw for draw in reversed(found)}
    return list(reversed(by_label.values())), list(dict.fromkeys(notes))


def main_draws(signature: Signature) -> list[Draw]:
    """The draws that are run in every way.

    Standard normal at batch 2, of large scale at batch 1, and standard normal at another image size
    where the network takes one, odd and oblong if it takes that; the first alone for a network that
    takes long and no smaller image.
    """
    batch = signature.batch
    plain = dict(signature.sizes) | ({batch: 2} if batch is not None else {})
    single = plain | ({batch: 1} if batch is not None else {})
    wide = next((LARGE[s.dtype] for s in signature.inputs if s.dtype in LARGE), LARGE_DEFAULT)
    found = [_random(signature, plain, 1.0, 0)]
    if signature.heavy:
        return found
    found.append(replace(_random(signature, single, wide, 1), usual=False))
    doubled = {k: 2 * v for k, v in single.items() if k != batch}
    images = signature.other or doubled  # capture has checked that the network takes twice
    if images:
        found.append(replace(_random(signature, single | images, 1.0, 2), optional=True))
    return found


def quick_draws(signature: Signature) -> list[Draw]:
    """Standard normal at batches of 2 and of 1; the first alone where that has to do."""
    batch = signature.batch
    counts = (2, 1) if batch is not None and not signature.heavy else (2,)
    points = [signature.sizes | ({} if batch is None else {batch: n}) for n in counts]
    return [_random(signature, sizes, 1.0, i) for i, sizes in enumerate(points)]


def probe(signature: Signature) -> tuple[Tensor, ...]:
    """Inputs that tell whether a network runs at the sizes of the table."""
    sizes = signature.sizes | signature.tiny
    batch = {} if signature.batch is None else {signature.batch: 1}
    return _random(signature, sizes | batch, 1.0, 0).tensors


def _notes(signature: Signature) -> Iterator[str]:
    if signature.note:
        yield signature.note
    if signature.batch is None:
        yield "the batch size is fixed, so a second one was not run"
    if not set(signature.sizes) - {signature.batch} and any(
        len(s.dims) > 2 for s in signature.inputs
    ):
        yield "every size but the batch is fixed, so other image sizes were not run"
    if signature.heavy:
        yield (
            "run on few inputs, as the network takes long at the only image size it takes "
            "(all of them: full=True, --full-size)"
        )


@dataclass
class _Table:
    """The draws of the table for one network, within what they may cost."""

    signature: Signature
    left: float
    tight: bool = False
    draws: list[Draw] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Which rows the network is too costly for."""
        if not self.dropped:
            return []
        listed = "; ".join(dict.fromkeys(self.dropped))
        return [f"not run, as the network takes long: {listed} (all: full=True, --full-size)"]

    def add(self, row: Row, sizes: dict[str, int], seed: int) -> None:
        """Runs the row at these sizes, or not at all; at batch 1 where all rows cost too much."""
        signature, batch = self.signature, self.signature.batch
        if batch is not None:
            alone = self.tight and row.values and row.spoilt is None
            sizes = sizes | {batch: 1 if alone else row.batch}
        price = _macs(signature, sizes)
        if price <= self.left:
            self.left -= price
            self.draws.append(_filled(signature, row, sizes, seed))
        else:
            self.dropped.append(_filled(signature, row, sizes, seed, blank=True).label)


def table(signature: Signature) -> _Table:
    """The draws of `TABLE` that fit the inputs, and one at twice the image size."""
    budget = float(signature.macs if signature.heavy else PICTURES * signature.macs)
    budget = math.inf if signature.full else budget if signature.heavy else max(AT_LEAST, budget)
    sizes = signature.sizes | signature.tiny
    rows = [row for row in TABLE if _fits(row, signature)]
    batches = sum(1 if signature.batch is None else row.batch for row in rows)
    one = sizes if signature.batch is None else sizes | {signature.batch: 1}
    found = _Table(signature, budget, tight=_macs(signature, one) * batches > budget)
    for seed, row in enumerate(rows[:2], 3):
        found.add(row, sizes, seed)
    if signature.twice:
        row = Row("random", 1, normal, values=False)
        _twice(found, row, signature.sizes | signature.twice)
    for seed, row in enumerate(rows[2:], 5):
        found.add(row, sizes, seed)
    return found


def _twice(found: _Table, row: Row, sizes: dict[str, int]) -> None:
    """The draw at twice the image size: a large part of the cost, so it has a budget of its own."""
    left, found.left = found.left, math.inf if found.signature.full else 4 * AT_LEAST
    found.add(row, sizes, 2)
    found.left = left


def _fits(row: Row, signature: Signature) -> bool:
    """Whether the row says something of these inputs that no other row does."""
    floating = [s for s in signature.inputs if s.dtype.is_floating_point]
    if not row.values:
        return signature.batch is not None
    if row.spoilt is not None:
        return bool(floating) and signature.batch is not None
    if row.scale > LARGE_DEFAULT and any(s.dtype in LARGE for s in floating):
        return False
    return bool(floating) or row.index is not None or signature.batch is not None


def _macs(signature: Signature, sizes: dict[str, int]) -> float:
    """About the MACs at these sizes: linear in the area and in the batch."""
    ratio = math.prod(
        size / signature.sizes[name] for name, size in sizes.items() if name != signature.batch
    )
    return signature.macs * ratio * sizes.get(str(signature.batch), 1)


def _filled(
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


def _random(signature: Signature, sizes: dict[str, int], scale: float, index: int) -> Draw:
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
