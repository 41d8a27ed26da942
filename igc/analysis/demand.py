"""Which outputs need a value, channel by channel where an op only moves channels about.

A static network joins the features of all tasks once and lets every task take its channels from
the join. By nodes alone, everything in the join would then belong to every task.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

Key = TypeVar("Key", bound=Hashable)
Tasks: TypeAlias = frozenset[int]
NONE: Tasks = frozenset()


@dataclass(frozen=True)
class Route(Generic[Key]):
    """How the demand on a result reaches one operand; a bare route needs all of the operand.

    `axes` gives for each axis of the operand the result's axis that it follows. Where `index` is
    given, result channel `start + j` along `axis` is operand channel `index[j]` along `at` (-1: not
    from this operand); channels that it does not reach are not either. `piece` says that the index
    only shifts: the operand is needed whole if all of the result is.
    """

    operand: Key
    axes: tuple[int | None, ...] = ()
    axis: int = 0
    at: int = 0
    index: Sequence[int] | None = None
    piece: bool = False
    start: int = 0


@dataclass
class _Need:
    """What is needed of one value: all of it by `whole`, channels along one axis by `parts`."""

    whole: Tasks = NONE
    axis: int = 0
    parts: dict[int, Tasks] = field(default_factory=dict)

    @property
    def total(self) -> Tasks:
        return self.whole.union(*self.parts.values())

    def add(self, tasks: Tasks) -> None:
        self.whole |= tasks

    def add_part(self, axis: int, channel: int, tasks: Tasks) -> None:
        if self.parts and self.axis != axis:  # two axes at once: give up the finer view
            self.whole, self.parts = self.total | tasks, {}
        elif tasks <= self.whole:
            return
        else:
            self.axis = axis
            self.parts[channel] = self.parts.get(channel, NONE) | tasks

    def of_channel(self, axis: int, channel: int) -> Tasks:
        if self.parts and self.axis != axis:
            return self.total
        return self.whole | self.parts.get(channel, NONE)


def demand(
    order: Sequence[Key], routes: Mapping[Key, Sequence[Route[Key]]], outputs: Sequence[Key]
) -> dict[Key, Tasks]:
    """For every value the numbers of the outputs that need any of it.

    `order` lists the values so that operands come before what is made of them.
    """
    needs: dict[Key, _Need] = {key: _Need() for key in order}
    for i, key in enumerate(outputs):
        needs.setdefault(key, _Need()).add(frozenset((i,)))
    for key in reversed(order):
        for route in routes.get(key, ()):
            _pass_on(needs[key], route, needs.setdefault(route.operand, _Need()))
    return {key: need.total for key, need in needs.items()}


def _pass_on(need: _Need, route: Route[Key], operand: _Need) -> None:
    if route.index is None:
        follows = [i for i, axis in enumerate(route.axes) if axis == need.axis]
        if not need.parts or not follows:
            operand.add(need.total)
            return
        operand.add(need.whole)
        for channel, tasks in need.parts.items():
            operand.add_part(follows[0], channel, tasks)
        return
    if route.piece and (not need.parts or need.axis != route.axis):
        operand.add(need.total)
        return
    for j, channel in enumerate(route.index, route.start):
        if channel >= 0:
            operand.add_part(route.at, channel, need.of_channel(route.axis, j))
