"""Constants of a program under construction: sliced, added, each with its origin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from igc.analysis.groups import GroupPlan
from igc.program import Origin, Program
from igc.program.program import fresh_name
from igc.program.recipe import Groups, Recipe, Select, Stored, over, required, take

Numbers = NDArray[np.int64]


class ConstantPool:
    """The constants of the program being built, starting from those of `program`."""

    def __init__(self, program: Program) -> None:
        """Start with every constant of `program`; what the new graph does not name is dropped."""
        self.values: dict[str, Tensor] = dict(program.constants)
        self.origins: dict[str, Origin] = dict(program.origins)
        self.kinds: dict[str, torch.dtype] = dict(program.kinds)
        self._made: dict[tuple[str, tuple[bytes | None, ...]], str] = {}

    def origin(self, name: str) -> Origin:
        """Where a constant came from; by default from itself."""
        return self.origins.get(name, Origin(name))

    def recipe(self, name: str) -> Recipe | None:
        """How a constant is made; one without an origin is a tensor of the checkpoint."""
        origin = self.origins.get(name)
        return Stored(name) if origin is None else origin.recipe

    def kind(self, name: str) -> torch.dtype:
        """The type that a constant counts as (`Program.kind`)."""
        return self.kinds.get(name) or self.values[name].dtype

    def sources(self, name: str) -> tuple[str, ...]:
        """The checkpoint tensors that a constant was computed from."""
        origin = self.origin(name)
        return origin.parts or (origin.source,)

    def sliced(self, name: str, index: Sequence[Numbers | None]) -> str:
        """The name of `name[index]`, one index per axis, `None` meaning all of it."""
        value = self.values[name]
        picks = [
            None if i is None or (len(i) == n and bool((i == np.arange(n)).all())) else i
            for i, n in zip(index, value.shape, strict=True)
        ]
        if all(p is None for p in picks):
            return name
        key = (name, tuple(None if p is None else p.tobytes() for p in picks))
        if key not in self._made:
            for axis, pick in enumerate(picks):
                if pick is not None:
                    value = value.index_select(axis, torch.from_numpy(pick))
            self._made[key] = self.like(name, value.contiguous(), self._compose(name, picks))
        return self._made[key]

    def _compose(self, name: str, picks: Sequence[Numbers | None]) -> Origin:
        before = self.origin(name)
        index = tuple(None if p is None else tuple(int(i) for i in p) for p in picks)
        recipe = take(self.recipe(name), index)
        if before.transform:
            transform = before.transform + ", slice"
            return Origin(before.source, index, transform, self.sources(name), recipe)
        old = before.index or (None,) * len(picks)
        new = tuple(
            o if p is None else p if o is None else tuple(o[i] for i in p)
            for o, p in zip(old, index, strict=True)
        )
        return Origin(before.source, new, recipe=recipe)

    def selected(self, name: str, axis: int, index: int) -> Origin:
        """The origin of `name` at one index of one axis."""
        before = self.origin(name)
        transform = f"{before.transform}, select {index} of axis {axis}".lstrip(", ")
        recipe = over(Select, required(self.recipe(name)), axis, index)
        return Origin(before.source, (), transform, self.sources(name), recipe)

    def group_origin(
        self, name: str, plan: GroupPlan, blocks: Sequence[tuple[Tensor, Tensor]]
    ) -> Origin:
        """The origin of a grouped kernel cut by `plan`: rows and columns group by group.

        `blocks` holds for each group what was taken of the kernel's first and second axis.
        """
        rows = tuple(int(i) for i in plan.rows.reshape(-1))
        columns = tuple(int(i) for i in plan.columns.reshape(-1))
        first, second = (
            tuple(tuple(b.tolist()) for b in axis) for axis in zip(*blocks, strict=True)
        )
        recipe = over(Groups, required(self.recipe(name)), first, second)
        before = self.origin(name)
        return Origin(
            before.source,
            () if before.index else (rows, columns),
            "slice groups",
            recipe=recipe,
        )

    def like(self, name: str, value: Tensor, origin: Origin) -> str:
        """A new constant of the kind of `name`, and under its name with a number."""
        return self.add(name, value, origin, self.kinds.get(name))

    def add(
        self, name: str, value: Tensor, origin: Origin | None = None,
        kind: torch.dtype | None = None,
    ) -> str:  # fmt: skip
        """A new constant under `name` or, where that is taken, `name` with a number.

        `kind` is the type that it counts as, where that is not the one it is stored in.
        """
        fresh = fresh_name(name, self.values)
        self.values[fresh] = value
        self.origins[fresh] = origin or Origin("", (), "computed")
        if kind is not None and kind != value.dtype:
            self.kinds[fresh] = kind
        return fresh
