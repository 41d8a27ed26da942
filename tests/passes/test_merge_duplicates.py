"""MergeDuplicates in text: the same op on the same operands once; equal weights stay apart."""

from __future__ import annotations

from in_text import becomes, stays

from igc.passes.cleanup import MergeDuplicates


def test_equal_calls_become_one_and_whole_chains_with_them() -> None:
    """1 and 1.0 are not the same argument."""
    becomes(
        MergeDuplicates(),
        """
        program(x: f32[batch=2, 3]) f32
          a = relu(x)
          b = relu(x)
          c = add.Tensor(a, 1)
          d = add.Tensor(b, 1)
          e = add.Tensor(b, 1.0)
          y = mul.Tensor(c, d)
          z = mul.Tensor(y, e)
          return z=z
        """,
        """
        program(x: f32[batch=2, 3]) f32
          a = relu(x)
          c = add.Tensor(a, 1)
          e = add.Tensor(a, 1.0)
          y = mul.Tensor(c, c)
          z = mul.Tensor(y, e)
          return z=z
        """,
    )


def test_equal_computed_constants_become_one() -> None:
    becomes(
        MergeDuplicates(),
        """
        program(x: f32[batch=2, 3]) f32
          a = index_select(x, 1, @index)
          b = index_select(x, 1, @index~1)
          c = index_select(x, 1, @index~2)
          y = mul.Tensor(a, b)
          return y=y, c=c
          @index i64[2] 0 2                                      # computed
          @index~1 i64[2] 0 2                                    # computed
          @index~2 i64[2] 2 0                                    # computed
        """,
        """
        program(x: f32[batch=2, 3]) f32
          a = index_select(x, 1, @index)
          c = index_select(x, 1, @index~2)
          y = mul.Tensor(a, a)
          return y=y, c=c
          @index i64[2] 0 2                                      # computed
          @index~2 i64[2] 2 0                                    # computed
        """,
    )


def test_one_weight_read_twice_is_applied_once() -> None:
    becomes(
        MergeDuplicates(),
        """
        program(x: f32[batch=2, 3]) f32
          a = linear(x, @weight)
          b = linear(x, @weight)
          return a=a, b=b
          @weight f32[2, 3]
        """,
        """
        program(x: f32[batch=2, 3]) f32
          a = linear(x, @weight)
          return a=a, b=a
          @weight f32[2, 3]
        """,
    )


def test_equal_weights_of_two_branches_stay_apart() -> None:
    stays(
        MergeDuplicates(),
        """
        program(x: f32[batch=2, 3]) f32
          a = linear(x, @a.weight)
          b = linear(x, @b.weight)
          c = mul.Tensor(x, @a.scale)
          d = mul.Tensor(x, @b.scale)
          return a=a, b=b, c=c, d=d
          @a.weight f32[2, 3] 1 2 3 4 5 6
          @b.weight f32[2, 3] 1 2 3 4 5 6
          @a.scale f32[1] 2                                      # from a.weight
          @b.scale f32[1] 2                                      # from b.weight
        """,
    )


def test_arguments_of_another_value_or_type_stay_apart() -> None:
    stays(
        MergeDuplicates(),
        """
        program(x: f32[batch=2, 3]) f32
          a = add.Tensor(x, 1)
          b = add.Tensor(x, 1.0)
          c = sum.dim_IntList(x, [1], True)
          d = sum.dim_IntList(x, [1], False)
          e = mul.Tensor(x, @one)
          f = mul.Tensor(x, @wide)
          return a=a, b=b, c=c, d=d, e=e, f=f
          @one f32[1] 2                                          # computed
          @wide f64[1] as f32 2                                  # computed
        """,
    )
