"""Sizes at which a captured graph is tried: every answer to a question on sizes, small and odd."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from igc.capture.layout import laid_out_as
from igc.capture.questions import Question

SIZES = 64  # every one up to this is asked about: all residues of ordinary divisors
MOST = 24  # kinds of answers that are tried
LIKELY = 32  # an image size that most networks take and that costs little
Point = dict[str, int]  # a number for every dynamic size, by name


@dataclass(frozen=True)
class Trial:
    """Sizes to try, and the questions that are answered otherwise there than in the example.

    `instead` are further sizes of the same kind, for a module that does not take these.
    """

    sizes: Point
    otherwise: tuple[Question, ...] = ()
    instead: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The dynamic sizes in the example, which of them are batches, and what was asked of them.

    `symbols` are torch's for each size; several where torch took two sizes for the same.
    """

    example: Point
    batches: frozenset[str]
    questions: tuple[Question, ...]
    symbols: Mapping[str, tuple[Any, ...]]


def trials(asked: Asked) -> Iterator[Trial]:
    """The sizes to try, plain ones first, then two for every set of answers to the questions."""
    yield from _plain(asked)
    for points in list(_kinds(asked).values())[:MOST]:
        ranked = sorted(points, key=lambda p: _strangeness(asked, p))
        changed = _otherwise(asked, ranked[0])
        yield Trial(ranked[0], changed, tuple(ranked[2:8:2]))
        if len(ranked) > 1:
            yield Trial(ranked[1], _otherwise(asked, ranked[1]), tuple(ranked[3:9:2]))


def _plain(asked: Asked) -> Iterator[Trial]:
    """A batch of one; odd and oblong; doubled; tiny. They need no question to be asked."""
    images = [name for name in asked.example if name not in asked.batches]

    def point(batch: int, *sizes: int) -> Point:
        found = dict.fromkeys(asked.batches, batch)
        return found | {n: sizes[i % len(sizes)] for i, n in enumerate(images)}

    def trial(*points: Point) -> Trial:
        return Trial(points[0], _otherwise(asked, points[0]), points[1:])

    near = [asked.example[n] for n in images]
    if not images:
        yield from (trial(point(n, 1)) for n in (1, 3, 5))
        return
    small = min(LIKELY, *near)
    odd = small + 1 + small % 2
    at = max(near)
    yield trial(point(1, odd, odd + 2), point(1, at + 1, at + 3), point(1, *near))
    yield trial(point(3, 2 * small, small), point(3, *(2 * n for n in near)), point(3, *near))
    yield from (trial(point(2, *sizes)) for sizes in ((1, 1), (3, 3), (2, 5)))


def _kinds(asked: Asked) -> dict[tuple[bool, ...], list[Point]]:
    """Sizes by which questions they answer as the example does, that kind itself left out."""
    found: dict[tuple[bool, ...], list[Point]] = {}
    if not asked.questions:
        return found
    for point in _grid(asked):
        answers = tuple(q.answered(_by_symbol(asked, point)) for q in asked.questions)
        if not all(answers):
            found.setdefault(answers, []).append(point)
    return dict(sorted(found.items(), key=lambda kind: -sum(kind[0])))


def _grid(asked: Asked) -> Iterator[Point]:
    """One size changed; all image sizes changed to one; a few oblong ones."""
    for name, size in asked.example.items():
        span = [1, 2, 3, 4, 5, 7, 8] if name in asked.batches else list(range(1, SIZES + 1))
        yield from ({**asked.example, name: n} for n in dict.fromkeys([*span, size, 2 * size]))
    images = [name for name in asked.example if name not in asked.batches]
    if len(images) > 1:
        for n in range(1, SIZES + 1):
            yield {**asked.example, **dict.fromkeys(images, n)}
            yield {**asked.example, **{name: n + i for i, name in enumerate(images)}}
            yield {**asked.example, **{name: n + 2 * i for i, name in enumerate(reversed(images))}}


def _otherwise(asked: Asked, point: Point) -> tuple[Question, ...]:
    sizes = _by_symbol(asked, point)
    return tuple(q for q in asked.questions if not q.answered(sizes))


def _by_symbol(asked: Asked, point: Point) -> dict[Any, int]:
    return {symbol: n for name, n in point.items() for symbol in asked.symbols[name]}


def _strangeness(asked: Asked, point: Point) -> float:
    """How far sizes are from what most networks take, and what a small run needs."""
    images = [n for name, n in point.items() if name not in asked.batches]
    return sum(abs(math.log(n / LIKELY)) for n in images) + sum(
        abs(n - 2) for name, n in point.items() if name in asked.batches
    )


def at_sizes(
    inputs: Sequence[Tensor], names: Sequence[Sequence[int | str]], sizes: Mapping[str, int]
) -> tuple[Tensor, ...]:
    """Inputs of these sizes with values like those of the example, the same ones every time.

    Every entry is one of the example's, drawn at random, so that token numbers are tokens and
    masks are masks; where an example is the same number throughout, floating ones are normal.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    for tensor, dims in zip(inputs, names, strict=True):
        shape = [sizes[d] if isinstance(d, str) else d for d in dims]
        flat = tensor.detach().reshape(-1)
        if flat.dtype.is_floating_point and (flat == flat[:1]).all():
            value = torch.randn(shape, generator=generator).to(flat)
        else:
            picks = torch.randint(0, max(1, flat.numel()), (math.prod(shape),), generator=generator)
            value = flat[picks.to(flat.device)].reshape(shape)
        found.append(laid_out_as(tensor, value))
    return tuple(found)
