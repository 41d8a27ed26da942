"""SpellOutStacks in text: sums over stacked features, and the stacks that stay."""

from __future__ import annotations

import pytest
from in_text import becomes, stays

from igc.passes.stacks import SpellOutStacks

STACK = """
    program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
      a1 = unsqueeze(a, 0)
      b1 = unsqueeze(b, 0)
      stack = cat([a1, b1], 0)
      weighted = mul.Tensor(stack, @w)
      y = sum.dim_IntList(weighted, [0])
      return y=y
      @w f32[2, 1, 3] 1 0 0.5 0 1 0.5
"""


def test_a_weighted_sum_over_a_stack_becomes_the_sum_it_is() -> None:
    becomes(
        SpellOutStacks(),
        STACK,
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          mul_tensor = mul.Tensor(a, @w~1)
          mul_tensor_1 = mul.Tensor(b, @w~2)
          y = add.Tensor(mul_tensor, mul_tensor_1)
          return y=y
          @w~1 f32[1, 3] 1 0 0.5            # from w: select 0 of axis 0
          @w~2 f32[1, 3] 0 1 0.5            # from w: select 1 of axis 0
        """,
    )


def test_the_weight_may_stand_first_and_the_axis_be_counted_from_behind() -> None:
    becomes(
        SpellOutStacks(),
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          a1 = unsqueeze(a, -1)
          b1 = unsqueeze(b, 2)
          stack = cat([a1, b1], -1)
          weighted = mul.Tensor(@w, stack)
          y = sum.dim_IntList(weighted, [-1])
          return y=y
          @w f32[1, 3, 2] 1 0 0 1 0.5 0.5
        """,
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          mul_tensor = mul.Tensor(a, @w~1)
          mul_tensor_1 = mul.Tensor(b, @w~2)
          y = add.Tensor(mul_tensor, mul_tensor_1)
          return y=y
          @w~1 f32[1, 3] 1 0 0.5
          @w~2 f32[1, 3] 0 1 0.5
        """,
    )


def test_a_plain_sum_over_a_stack_becomes_additions() -> None:
    becomes(
        SpellOutStacks(),
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          a1 = unsqueeze(a, 0)
          b1 = unsqueeze(b, 0)
          stack = cat([a1, b1, a1], 0)
          y = sum.dim_IntList(stack, [0])
          return y=y
        """,
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          add_tensor = add.Tensor(a, b)
          y = add.Tensor(add_tensor, a)
          return y=y
        """,
    )


@pytest.mark.parametrize(
    "source",
    [STACK.replace("weighted, [0]", "weighted, [1]"),
     STACK.replace("cat([a1, b1], 0)", "cat([a1, b1], 1)").replace("f32[2, 1, 3]", "f32[1, 1, 3]"),
     STACK.replace("unsqueeze(a, 0)", "reshape(a, [1, -1, 3])")],
    ids=["another axis", "joined along another axis", "no stack"],
)  # fmt: skip
def test_other_sums_stay(source: str) -> None:
    stays(SpellOutStacks(), source.replace(" 1 0 0.5 0 1 0.5", ""))


@pytest.mark.parametrize(
    ("source", "why"),
    [(STACK.replace("weighted, [0]", "weighted, [0], True"),
      "the sum over a stack keeps its axis, takes others too or changes the type"),
     (STACK.replace("weighted, [0]", "weighted, [0, 2]"),
      "the sum over a stack keeps its axis, takes others too or changes the type"),
     (STACK.replace("(stack, @w)", "(stack, a)"),
      "the weight of the stack is computed from the input"),
     (STACK.replace("f32[2, 1, 3] 1 0 0.5 0 1 0.5", "f32[1, 1, 3]"),
      "the weight of the stack holds no number for each feature"),
     (STACK.replace("f32[2, 1, 3] 1 0 0.5 0 1 0.5", "i64[2, 1, 3]"),
      "the weight of the stack holds no number for each feature")],
    ids=["kept axis", "several axes", "computed weight", "one weight", "another type"],
)  # fmt: skip
def test_stacks_that_stay_say_why(source: str, why: str) -> None:
    stays(SpellOutStacks(), source, why=(why,))


def test_a_product_with_zeros_over_a_stack_becomes_the_sums_it_is() -> None:
    becomes(
        SpellOutStacks(),
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          a1 = unsqueeze(a, 0)
          b1 = unsqueeze(b, 0)
          stack = cat([a1, b1], 0)
          last = permute(stack, [1, 2, 0])
          y = matmul(last, @w)
          return y=y
          @w f32[2, 2] 1 0.5 0 0.5
        """,
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          mul_tensor = mul.Tensor(a, @w~2)
          unsqueeze_default = unsqueeze(mul_tensor, 2)
          mul_tensor_1 = mul.Tensor(a, @w~3)
          mul_tensor_2 = mul.Tensor(b, @w~5)
          add_tensor = add.Tensor(mul_tensor_1, mul_tensor_2)
          unsqueeze_default_1 = unsqueeze(add_tensor, 2)
          y = cat([unsqueeze_default, unsqueeze_default_1], 2)
          return y=y
          @w~2 f32[1] 1
          @w~3 f32[1] 0.5
          @w~5 f32[1] 0.5
        """,
    )


def test_a_product_over_a_stack_without_zeros_stays() -> None:
    stays(
        SpellOutStacks(),
        """
        program(a: f32[batch=2, 3], b: f32[batch, 3]) f32
          a1 = unsqueeze(a, -1)
          b1 = unsqueeze(b, -1)
          stack = cat([a1, b1], -1)
          y = matmul(stack, @w)
          return y=y
          @w f32[2, 2] 1 0.5 0.25 0.5
        """,
    )
