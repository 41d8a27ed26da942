"""SliceChannels in text: gates and mixes of a few channels, and what keeps them all."""

from __future__ import annotations

from in_text import becomes, stays

from igc.passes.slicing.slice_channels import SliceChannels

GATED = """
    program(x: f32[batch=2, 4]) f32
      own = linear(x, @own.weight, @own.bias)                # own
      shared = linear(x, @shared.weight, @shared.bias)       # shared
      a = mul.Tensor(own, @gate)
      b = mul.Tensor(shared, @rest)
      mixed = add.Tensor(a, b)
      seg = linear(mixed, @seg.weight)                       # seg
      return seg=seg
      @own.weight f32[6, 4]
      @own.bias f32[6]
      @shared.weight f32[6, 4]
      @shared.bias f32[6]
      @gate f32[6] 1 0 1 0 0 1
      @rest f32[6] 0 1 0 1 1 0
      @seg.weight f32[2, 6]
"""


def test_a_gate_becomes_a_concatenation_and_a_gather() -> None:
    becomes(
        SliceChannels(),
        GATED,
        """
        program(x: f32[batch=2, 4]) f32
          own = linear(x, @own.weight~1, @own.bias~1)            # own
          shared = linear(x, @shared.weight~1, @shared.bias~1)   # shared
          cat_default = cat([own, shared], 1)
          index_select_default = index_select(cat_default, 1, @index)
          seg = linear(index_select_default, @seg.weight)        # seg
          return seg=seg
          @seg.weight f32[2, 6]
          @own.weight~1 f32[3, 4]                                # from own.weight
          @own.bias~1 f32[3]                                     # from own.bias
          @shared.weight~1 f32[3, 4]                             # from shared.weight
          @shared.bias~1 f32[3]                                  # from shared.bias
          @index i64[6] 0 3 1 4 5 2                              # computed
        """,
    )


def test_a_mix_is_computed_on_its_own_channels_alone() -> None:
    becomes(
        SliceChannels(),
        GATED.replace("1 0 1 0 0 1", "0.5 0 1 0 0 0").replace("0 1 0 1 1 0", "0.5 1 0 1 1 1"),
        """
        program(x: f32[batch=2, 4]) f32
          own = linear(x, @own.weight~1, @own.bias~1)
          shared = linear(x, @shared.weight~1, @shared.bias~1)
          slice_tensor = slice.Tensor(own, 1, 0, 1, 1)
          mul_tensor = mul.Tensor(slice_tensor, @coefficient)
          slice_tensor_1 = slice.Tensor(shared, 1, 0, 1, 1)
          mul_tensor_1 = mul.Tensor(slice_tensor_1, @coefficient~1)
          add_tensor = add.Tensor(mul_tensor, mul_tensor_1)
          cat_default = cat([own, shared, add_tensor], 1)
          index_select_default = index_select(cat_default, 1, @index)
          seg = linear(index_select_default, @seg.weight)
          return seg=seg
          @seg.weight f32[2, 6]
          @own.weight~1 f32[2, 4]
          @own.bias~1 f32[2]
          @shared.weight~1 f32[5, 4]
          @shared.bias~1 f32[5]
          @coefficient f64[1, 1] as f32 0.5
          @coefficient~1 f64[1, 1] as f32 0.5
          @index i64[6] 7 3 1 4 5 6
        """,
    )


def test_a_branch_whose_gates_are_all_closed_goes() -> None:
    becomes(
        SliceChannels(),
        GATED.replace("1 0 1 0 0 1", "0 0 0 0 0 0").replace("0 1 0 1 1 0", "1 1 1 1 1 1"),
        """
        program(x: f32[batch=2, 4]) f32
          shared = linear(x, @shared.weight, @shared.bias)
          seg = linear(shared, @seg.weight)
          return seg=seg
          @shared.weight f32[6, 4]
          @shared.bias f32[6]
          @seg.weight f32[2, 6]
        """,
    )


def test_weights_that_read_dead_channels_lose_their_columns() -> None:
    becomes(
        SliceChannels(),
        """
        program(x: f32[batch=2, 4]) f32
          y = linear(x, @weight)
          masked = mul.Tensor(y, @mask)
          z = linear(masked, @head)
          return z=z
          @weight f32[3, 4]
          @mask f32[3] 1 0 1
          @head f32[2, 3]
        """,
        """
        program(x: f32[batch=2, 4]) f32
          y = linear(x, @weight~1)
          z = linear(y, @head~1)
          return z=z
          @weight~1 f32[2, 4]                                    # from weight
          @head~1 f32[2, 2]                                      # from head
        """,
    )


def test_a_network_without_dead_channels_stays() -> None:
    stays(
        SliceChannels(),
        """
        program(x: f32[batch=2, 4]) f32
          y = linear(x, @weight)
          z = relu(y)
          return z=z
          @weight f32[6, 4]
        """,
    )


def test_an_op_without_a_rule_reads_all_and_is_named() -> None:
    stays(
        SliceChannels(),
        """
        program(x: f32[batch=2, 4]) f32
          y = linear(x, @weight)
          z = logcumsumexp(y, 1)
          return z=z
          @weight f32[6, 4]
        """,
        why=("no rule",),
    )


def test_groups_keep_equal_widths_and_say_so() -> None:
    """Two rows live in the first group and one in the second, which keeps two as well."""
    becomes(
        SliceChannels(),
        """
        program(x: f32[batch=2, 4, 6, 6]) f32
          y = conv2d(x, @weight, None, [1, 1], [0, 0], [1, 1], 2)  # conv
          masked = mul.Tensor(y, @mask)
          z = conv2d(masked, @head)
          return z=z
          @weight f32[6, 2, 3, 3]
          @mask f32[6, 1, 1] 1 1 0 0 1 0
          @head f32[2, 6, 1, 1]
        """,
        """
        program(x: f32[batch=2, 4, 6, 6]) f32
          y = conv2d(x, @weight~1, None, [1, 1], [0, 0], [1, 1], 2)
          index_select_default = index_select(y, 1, @index)
          z = conv2d(index_select_default, @head~1)
          return z=z
          @weight~1 f32[4, 2, 3, 3]
          @index i64[3] 0 1 3
          @head~1 f32[2, 3, 1, 1]
        """,
        why=("groups keep equal widths: 2 kernel columns more than live",),
    )


def test_channels_that_repeat_a_sum_with_a_constant_are_taken_from_that_sum() -> None:
    """Though only a concatenation reads it, and so could have been told what it is made of."""
    becomes(
        SliceChannels(),
        """
        program(x: f32[batch=2, 6]) f32
          a = relu(x)
          first = index_select(a, 1, @first)
          second = index_select(a, 1, @second)
          one = add.Tensor(first, @shift)
          two = add.Tensor(second, @shift)
          both = cat([one, two], 1)
          seg = linear(both, @seg.weight)
          return seg=seg
          @first i64[4] 0 1 2 3
          @second i64[4] 0 1 4 5
          @shift f32[4] 0.5 1 2 3
          @seg.weight f32[2, 8]
        """,
        """
        program(x: f32[batch=2, 6]) f32
          a = relu(x)
          slice_tensor = slice.Tensor(a, 1, 0, 4, 1)
          slice_tensor_1 = slice.Tensor(a, 1, 4, 6, 1)
          one = add.Tensor(slice_tensor, @shift)
          slice_tensor_2 = slice.Tensor(@shift, 0, 2, 4, 1)
          two = add.Tensor(slice_tensor_1, slice_tensor_2)
          cat_default = cat([one, two], 1)
          index_select_default = index_select(cat_default, 1, @index)
          cat_default_1 = cat([one, index_select_default], 1)
          seg = linear(cat_default_1, @seg.weight)
          return seg=seg
          @shift f32[4] 0.5 1 2 3
          @seg.weight f32[2, 8]
          @index i64[4] 0 1 4 5
        """,
    )
