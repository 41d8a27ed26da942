"""What a recipe (`igc.program.recipe`) gives: those that need no more than tensors, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from igc.certificate.manifest import numbers
from igc.program.recipe import Groups, Recipe, Same, Scale, Select, Shift, Take, Transposed

EQUAL = 1e-10  # relative and absolute


class Evaluator:
    """Evaluates recipes by the method named as their kind; a subclass adds those of the graph.

    `index` is the manifest's: the lists of channel numbers that recipes name by their places. No
    list, and no value, has more than `most` entries; `ValueError` for one that has. `eps` are the
    numbers that batch norms of the network add to their variances.
    """

    eps: set[float]

    def __init__(self, index: Sequence[str], most: int) -> None:
        self.index, self.most = index, most

    def _of(self, recipe: Recipe) -> Tensor:
        return cast("Tensor", getattr(self, recipe.kind)(recipe))

    def _optional(self, recipe: Recipe | None, default: float) -> Tensor:
        return torch.tensor(default, dtype=torch.float64) if recipe is None else self._of(recipe)

    def numbers(self, at: Any) -> Tensor:
        """The list at that place: what a recipe read from a manifest has for channel numbers."""
        return torch.tensor(numbers(self.index[at], self.most), dtype=torch.int64)

    def take(self, recipe: Take) -> Tensor:
        """Rows and columns."""
        return self._taken(self._of(recipe.of), recipe.index)

    def _taken(self, value: Tensor, index: Sequence[Any]) -> Tensor:
        if len(index) != value.ndim:
            raise ValueError(f"{len(index)} indices for {value.ndim} axes")
        for axis, at in enumerate(index):
            if at is not None:
                listed = self.numbers(at)
                if len(listed) * value.numel() > self.most * value.shape[axis]:
                    raise ValueError("more rows than any tensor has")
                value = value.index_select(axis, listed)
        return value

    def groups(self, recipe: Groups) -> Tensor:
        """Blocks of a grouped kernel."""
        value = self._of(recipe.of)
        pairs = zip(recipe.first, recipe.second, strict=True)
        blocks = [self._taken(value, [a, b, *[None] * (value.ndim - 2)]) for a, b in pairs]
        if sum(block.numel() for block in blocks) > self.most:
            raise ValueError("more blocks than any tensor has")
        return torch.cat(blocks)

    def scale(self, recipe: Scale) -> Tensor:
        """A kernel with the batch norm's factor in it."""
        weight, groups = self._of(recipe.kernel), recipe.groups
        factor = self._factor(recipe)
        if groups > 1:  # a transposed kernel [in, out / groups, ...]
            rows = factor.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            return weight * rows.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        return weight * factor.reshape([-1 if a == recipe.axis else 1 for a in range(weight.ndim)])

    def shift(self, recipe: Shift) -> Tensor:
        """The bias that a convolution and its batch norm have together."""
        centred = self._optional(recipe.bias, 0.0) - self._of(recipe.mean)
        return centred * self._factor(recipe) + self._optional(recipe.beta, 0.0)

    def _factor(self, recipe: Scale | Shift) -> Tensor:
        if recipe.eps not in self.eps:
            raise ValueError("no batch norm of the network has this epsilon")
        return self._optional(recipe.gamma, 1.0) / torch.sqrt(self._of(recipe.var) + recipe.eps)

    def select(self, recipe: Select) -> Tensor:
        """One entry of an axis."""
        return self._of(recipe.of).select(recipe.axis, recipe.number)

    def same(self, recipe: Same) -> Tensor:
        """What several recipes give; `ValueError` where they do not give the same."""
        values = [self._of(each) for each in recipe.of]
        for other in values[1:]:
            if other.shape != values[0].shape or not torch.allclose(
                other, values[0], EQUAL, EQUAL, equal_nan=True
            ):
                raise ValueError("recipes that are said to give the same give different numbers")
        if not values[0].dtype.is_floating_point:
            return values[0]
        return torch.stack(values).mean(0)  # it depends on what each of them reads

    def transposed(self, recipe: Transposed) -> Tensor:
        """A matrix, transposed."""
        return self._of(recipe.of).t()
