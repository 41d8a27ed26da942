"""FoldConstants in text: what depends on constants alone becomes one, and what stays computed."""

from __future__ import annotations

from in_text import becomes, stays

from igc.passes.fold import FoldConstants


def test_a_gate_becomes_its_decision() -> None:
    """The threshold in the network's own precision, and exactly 0 and 1 behind it."""
    becomes(
        FoldConstants(),
        """
        program(x: f32[batch=2, 3]) f32
          soft = sigmoid(@alpha)
          hard = gt.Scalar(soft, 0.5)
          own = _to_copy(hard, dtype=torch.float32)
          rest = rsub.Scalar(own, 1)
          a = mul.Tensor(x, own)
          y = add.Tensor(a, rest)
          return y=y
          @alpha f32[3] 1 -1 2
        """,
        """
        program(x: f32[batch=2, 3]) f32
          a = mul.Tensor(x, @hard~1)
          y = add.Tensor(a, @hard~2)
          return y=y
          @hard~1 f32[3] 1 0 1      # from hard: fold aten._to_copy.default
          @hard~2 f32[3] 0 1 0      # from hard: fold aten.rsub.Scalar
        """,
    )


def test_a_straight_through_gate_is_exactly_open_or_closed() -> None:
    """hard - soft + soft is 0.99999994 in float32."""
    becomes(
        FoldConstants(),
        """
        program(x: f32[batch=2, 3]) f32
          is_open = gt.Scalar(@alpha, 0)
          hard = _to_copy(is_open, dtype=torch.float32)
          soft = sigmoid(@alpha)
          low = sub.Tensor(hard, soft)
          gate = add.Tensor(low, soft)
          y = mul.Tensor(x, gate)
          return y=y
          @alpha f32[3] 1 -1 2
        """,
        """
        program(x: f32[batch=2, 3]) f32
          y = mul.Tensor(x, @is_open~3)
          return y=y
          @is_open~3 f32[3] 1 0 1
        """,
    )


def test_the_outputs_of_a_call_with_several_are_constants_each() -> None:
    """The places of the two largest, decided in the network's own precision, and a hard gate."""
    becomes(
        FoldConstants(),
        """
        program(x: f32[batch=2, 3]) f32
          soft = sigmoid(@alpha)
          top = topk(soft, 2)
          where = operator.getitem(top, 1)
          zeros = full([3], 0.0, dtype=torch.float32, device=device('cpu'))
          hard = scatter.value(zeros, 0, where, 1.0)
          low = sub.Tensor(hard, soft)
          gate = add.Tensor(low, soft)
          y = mul.Tensor(x, gate)
          best = operator.getitem(top, 0)
          return y=y, best=best
          @alpha f32[3] 1 -1 2
        """,
        """
        program(x: f32[batch=2, 3]) f32
          y = mul.Tensor(x, @constant~3)
          return y=y, best=@alpha~2
          @constant~3 f32[3] 1 0 1
          @alpha~2 f64[2] as f32
        """,
    )


def test_a_mix_stays_in_float64_until_it_is_rounded_once() -> None:
    becomes(
        FoldConstants(),
        """
        program(x: f32[batch=2, 2]) f32
          mix = softmax.int(@beta, 0)
          y = mul.Tensor(x, mix)
          return y=y
          @beta f32[2] 0 1
        """,
        """
        program(x: f32[batch=2, 2]) f32
          y = mul.Tensor(x, @beta~1)
          return y=y
          @beta~1 f64[2] as f32             # from beta: fold aten.softmax.int
        """,
    )


def test_what_changes_nothing_is_left_out() -> None:
    """A mask of ones: the product is the weight itself, under its own name."""
    becomes(
        FoldConstants(),
        """
        program(x: f32[batch=2, 2]) f32
          masked = mul.Tensor(@weight, @ones)
          y = linear(x, masked)
          return y=y
          @weight f32[3, 2]
          @ones f32[3, 1] 1 1 1
        """,
        """
        program(x: f32[batch=2, 2]) f32
          y = linear(x, @weight)
          return y=y
          @weight f32[3, 2]
        """,
    )


def test_what_reads_the_input_stays() -> None:
    stays(
        FoldConstants(),
        """
        program(x: f32[batch=2, 3]) f32
          n = sym_size.int(x, 0)
          m = operator.mul(n, 3)
          y = mul.Tensor(x, @w)
          z = reshape(y, [m])
          return z=z
          @w f32[3]
        """,
    )


def test_a_constant_that_grows_stays_computed_and_says_so() -> None:
    stays(
        FoldConstants(),
        """
        program(x: f32[batch=2, 1]) f32
          grown = expand(@w, [2000, 2000])
          total = sum(grown)
          y = mul.Tensor(x, total)
          return y=y
          @w f32[1, 1]
        """,
        why=("stays computed: 4000000 numbers made of 1",),
    )


def test_a_table_stays_gathered_from_where_its_rows_are_read_often_and_says_so() -> None:
    stays(
        FoldConstants(),
        """
        program(x: f32[batch=2, 4096]) f32
          rows = index_select(@table, 0, @at)
          y = linear(x, rows)
          return y=y
          @table f32[4, 4096]
          @at i64[10] 0 1 2 3 3 2 1 0 0 1
        """,
        why=("stays gathered: over 2 times its table",),
    )
