"""What a recipe (`igc.program.recipe`) gives: those that need no more than tensors, in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from igc.certificate.manifest import numbers

KINDS = ("tensor", "node", "take", "select", "groups", "scale", "shift", "slope", "known",
         "transposed")  # fmt: skip


class Evaluator:
    """Evaluates recipes; a subclass says what tensors and nodes are: `tensor`, `node`, ...

    `index` is the manifest's: the lists of channel numbers that recipes name by their places. No
    list, and no value, has more than `most` entries; `ValueError` for one that has. `eps` are the
    numbers that batch norms of the network add to their variances.
    """

    eps: set[float]

    def __init__(self, index: Sequence[str], most: int) -> None:
        self.index, self.most = index, most

    def _of(self, recipe: Any) -> Tensor:
        kind, *args = recipe
        if kind not in KINDS:
            raise ValueError("a recipe of an unknown kind")
        return cast("Tensor", getattr(self, kind)(*args))

    def _optional(self, recipe: Any, default: float) -> Tensor:
        return torch.tensor(default, dtype=torch.float64) if recipe is None else self._of(recipe)

    def numbers(self, at: int) -> Tensor:
        """The list at that place."""
        return torch.tensor(numbers(self.index[at], self.most), dtype=torch.int64)

    def take(self, recipe: Any, index: Sequence[int | None]) -> Tensor:
        """Rows and columns."""
        value = self._of(recipe)
        if len(index) != value.ndim:
            raise ValueError(f"{len(index)} indices for {value.ndim} axes")
        for axis, at in enumerate(index):
            if at is not None:
                listed = self.numbers(at)
                if len(listed) * value.numel() > self.most * value.shape[axis]:
                    raise ValueError("more rows than any tensor has")
                value = value.index_select(axis, listed)
        return value

    def groups(self, recipe: Any, first: Sequence[int], second: Sequence[int]) -> Tensor:
        """Blocks of a grouped kernel."""
        value = self._of(recipe)
        pairs = zip(first, second, strict=True)
        blocks = [self.take(recipe, [a, b, *[None] * (value.ndim - 2)]) for a, b in pairs]
        if sum(block.numel() for block in blocks) > self.most:
            raise ValueError("more blocks than any tensor has")
        return torch.cat(blocks)

    def scale(self, kernel: Any, axis: int, groups: int, gamma: Any, var: Any, eps: Any) -> Tensor:
        """A kernel with the batch norm's factor in it."""
        weight = self._of(kernel)
        factor = self._factor(gamma, var, eps)
        if groups > 1:  # a transposed kernel [in, out / groups, ...]
            rows = factor.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            return weight * rows.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        return weight * factor.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])

    def shift(self, bias: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float) -> Tensor:
        """The bias that a convolution and its batch norm have together."""
        factor = self._factor(gamma, var, eps)
        centred = self._optional(bias, 0.0) - self._of(mean)
        return centred * factor + self._optional(beta, 0.0)

    def _factor(self, gamma: Any, var: Any, eps: float) -> Tensor:
        if eps not in self.eps:
            raise ValueError("no batch norm of the network has this epsilon")
        return self._optional(gamma, 1.0) / torch.sqrt(self._of(var) + eps)

    def select(self, recipe: Any, axis: int, number: int) -> Tensor:
        """One entry of an axis."""
        return self._of(recipe).select(axis, number)

    def transposed(self, recipe: Any) -> Tensor:
        """A matrix, transposed."""
        return self._of(recipe).t()


def within(recipe: Any) -> Iterator[Any]:
    """The recipe and those that it is made of."""
    yield recipe
    for part in recipe[1:]:
        if isinstance(part, list) and part and part[0] in KINDS:
            yield from within(part)
