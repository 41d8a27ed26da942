"""The sets of inputs that igc chooses: the main draws, and as much of the table as is worth it.

The main draws are run in every way, those of the table (`igc.verification.rows`) in one. They are
small, and left out from the end where a network takes long even so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from igc.analysis.image_sizes import BUDGET
from igc.errors import BadInput
from igc.verification.inputs import Draw, Inputs, Signature, given_draws
from igc.verification.rows import TABLE, Row, filled, normal, random

LARGE = {torch.float16: 4.0, torch.bfloat16: 4.0}
LARGE_DEFAULT = 30.0
PICTURES = 3  # the draws of the table together cost as much as so many pictures at the main sizes
AT_LEAST = 1_000_000_000  # MACs that they may cost, whatever a picture does


def draws(
    signature: Signature, given: Inputs = None, *, only: bool = False
) -> tuple[list[Draw], list[str]]:
    """The sets of inputs to run, and notes on what could not be varied.

    The user's own (`given`) come first, and alone with `only`; then the main draws and the table.
    Raises `BadInput` where the user's do not fit, or are asked for alone and not there.
    """
    if given is None and only:
        raise BadInput("verify: only=True runs nothing but inputs, and none are given")
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
    found = [random(signature, plain, 1.0, 0)]
    if signature.heavy:
        return found
    found.append(replace(random(signature, single, wide, 1), usual=False))
    doubled = {k: 2 * v for k, v in single.items() if k != batch}
    images = signature.other or doubled  # capture has checked that the network takes twice
    if images:
        found.append(replace(random(signature, single | images, 1.0, 2), optional=True))
    return found


def quick_draws(signature: Signature) -> list[Draw]:
    """Standard normal at batches of 2 and of 1; the first alone where that has to do."""
    batch = signature.batch
    counts = (2, 1) if batch is not None and not signature.heavy else (2,)
    points = [signature.sizes | ({} if batch is None else {batch: n}) for n in counts]
    return [random(signature, sizes, 1.0, i) for i, sizes in enumerate(points)]


def probe(signature: Signature) -> tuple[Tensor, ...]:
    """Inputs that tell whether a network runs at the sizes of the table."""
    sizes = signature.sizes | signature.tiny
    batch = {} if signature.batch is None else {signature.batch: 1}
    return random(signature, sizes | batch, 1.0, 0).tensors


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
            self.draws.append(filled(signature, row, sizes, seed))
        else:
            self.dropped.append(filled(signature, row, sizes, seed, blank=True).label)


def table(signature: Signature) -> _Table:
    """The draws of `TABLE` that fit the inputs, and one at twice the image size."""
    budget = float(signature.macs if signature.heavy else PICTURES * signature.macs)
    budget = math.inf if signature.full else budget if signature.heavy else max(AT_LEAST, budget)
    sizes = signature.sizes | signature.tiny
    rows = [row for row in TABLE if _fits(row, signature)]
    batches = sum(1 if signature.batch is None else row.batch for row in rows)
    one = sizes if signature.batch is None else sizes | {signature.batch: 1}
    found = _Table(signature, budget, tight=_macs(signature, one) * batches > budget)
    for seed, row in enumerate(rows, 3):
        found.add(row, sizes, seed)
    if signature.twice:  # a large part of the cost, and no network is run at that size beyond this
        found.left = math.inf if signature.full else 4.0 * BUDGET
        found.add(Row("random", 1, normal, values=False), signature.sizes | signature.twice, 2)
    return found


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
