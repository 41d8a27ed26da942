"""Constants that hold the same numbers are made one: what each was made of is told, and checked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from igc.audit.recipes import Evaluator
from igc.passes.cleanup import MergeDuplicates
from igc.passes.record import Record
from igc.program import Origin
from igc.program.parsing import parse
from igc.program.recipe import Recipe, Same, Stored, Take, from_data, same

TABLES = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, 2.0]), "n": torch.tensor([1, 2])}


class OfTables(Evaluator):
    """Stored tensors alone, differentiable."""

    def __init__(self, **tables: Tensor) -> None:
        super().__init__(["1,0"], 100)
        self.tables = tables

    def tensor(self, recipe: Stored) -> Tensor:
        return self.tables[recipe.name]


def test_it_depends_on_all_that_it_is_made_of() -> None:
    a, b = (TABLES[n].double().requires_grad_() for n in "ab")
    value = OfTables(a=a, b=b).same(Same((Stored("a"), Stored("b"))))
    assert torch.equal(value, a)
    value.sum().backward()
    assert bool((a.grad != 0).all())
    assert bool((b.grad != 0).all())


def test_whole_numbers_are_taken_as_they_are() -> None:
    value = OfTables(n=TABLES["n"]).same(Same((Stored("n"), Stored("n"))))
    assert torch.equal(value, TABLES["n"])


@pytest.mark.parametrize("other", [torch.tensor([1.0, 2.0 + 1e-6]), torch.ones(1), torch.ones(3)])
def test_what_is_not_the_same_is_an_error(other: Tensor) -> None:
    given = OfTables(a=TABLES["a"].double(), b=other.double())
    with pytest.raises(ValueError, match="different numbers"):
        given.same(Same((Stored("a"), Stored("b"))))


def test_it_is_told_as_data_and_read_again() -> None:
    recipe = Same((Stored("a"), Take(Stored("b"), ((1, 0),))))
    data = recipe.to_data(lambda _: 0)
    assert data == ["same", [["tensor", "a"], ["take", ["tensor", "b"], [0]]]]
    again = from_data(data)
    assert isinstance(again, Same)
    assert [r.kind for r in again.within()] == ["same", "tensor", "take", "tensor"]
    for wrong in (["same"], ["same", "a"], ["same", [["tensor"]]], ["same", [1]]):
        with pytest.raises((ValueError, TypeError)):
            from_data(wrong)


def test_three_become_one_list_and_the_same_recipe_stays_one() -> None:
    a, b, c = (Stored(n) for n in "abc")
    assert same(a, a) == a
    assert same(None, a) == a
    assert same(same(a, b), same(b, c)) == Same((a, b, c))


def test_merged_constants_keep_what_both_are_made_of() -> None:
    program = parse("""
        program(x: f32[batch=2, 2]) f32
          y = mul.Tensor(x, @a)
          z = mul.Tensor(x, @b)
          return y=y, z=z
          @a f32[2] 1 2    # computed
          @b f32[2] 1 2    # computed
    """)
    made: dict[str, Recipe] = {n: Stored(n) for n in "ab"}
    program.origins.update({n: Origin("", (), "mix", (n,), made[n]) for n in "ab"})
    merged = MergeDuplicates()(program, Record())
    (origin,) = merged.origins.values()
    assert origin.recipe == Same((made["a"], made["b"]))
    assert origin.parts == ("a", "b")
