"""FoldBatchNorm in text: into a convolution or linear, and every reason why not."""

from __future__ import annotations

import pytest
from in_text import becomes, stays

from igc.passes.batchnorm import FoldBatchNorm

NORM = """
    program(x: f32[batch=2, 3, 6, 6]) f32
      y = conv2d(x, @conv.weight)  # conv
      n = batch_norm(y, @norm.weight, @norm.bias, @mean, @var, False, 0.1, 1e-05, True)  # norm
      z = relu(n)
      return z=z
      @conv.weight f32[4, 3, 3, 3]
      @norm.weight f32[4]
      @norm.bias f32[4]
      @mean f32[4]
      @var f32[4]
"""


def test_a_norm_becomes_part_of_the_convolution_before_it() -> None:
    becomes(
        FoldBatchNorm(),
        NORM,
        """
        program(x: f32[batch=2, 3, 6, 6]) f32
          y = conv2d(x, @conv.weight~1, @conv.bias)              # conv
          z = relu(y)
          return z=z
          @conv.weight~1 f64[4, 3, 3, 3] as f32                  # from conv.weight: fold batch norm
          @conv.bias f64[4] as f32                               # from conv.bias: fold batch norm
        """,
    )


def test_without_scale_and_shift_behind_a_linear_with_a_bias() -> None:
    """w / sqrt(4) and (b - 1) / sqrt(4); w / sqrt(1/4) and (b - 1) / sqrt(1/4)."""
    becomes(
        FoldBatchNorm(),
        """
        program(x: f32[batch=2, 3]) f32
          y = linear(x, @weight, @bias)
          n = batch_norm(y, None, None, @mean, @var, False, 0.1, 0.0, True)
          return z=n
          @weight f32[2, 3] 2 4 6 1 2 3
          @bias f32[2] 3 5
          @mean f32[2] 1 1
          @var f32[2] 4 0.25
        """,
        """
        program(x: f32[batch=2, 3]) f32
          y = linear(x, @weight~1, @bias~1)
          return z=y
          @weight~1 f64[2, 3] as f32 1 2 3 2 4 6                 # from weight: fold batch norm
          @bias~1 f64[2] as f32 1 8                              # from bias: fold batch norm
        """,
    )


def test_into_a_grouped_transposed_convolution() -> None:
    becomes(
        FoldBatchNorm(),
        NORM.replace(
            "conv2d(x, @conv.weight)",
            "conv_transpose2d.input(x, @conv.weight, None, [2, 2], [0, 0], [0, 0], 3)",
        )
        .replace("f32[4, 3, 3, 3]", "f32[3, 2, 2, 2]")
        .replace("f32[4]", "f32[6]"),
        """
        program(x: f32[batch=2, 3, 6, 6]) f32
          y = conv_transpose2d.input(x, @conv.weight~1, @conv.bias, [2, 2], [0, 0], [0, 0], 3)
          z = relu(y)
          return z=z
          @conv.weight~1 f64[3, 2, 2, 2] as f32
          @conv.bias f64[6] as f32
        """,
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [(NORM.replace("False", "True"), "batch norm uses the batch's own statistics"),
     (NORM.replace("y = conv2d(x, @conv.weight)", "c = conv2d(x, @conv.weight)\n      y = relu(c)"),
      "batch norm is not right after a convolution or linear"),
     (NORM.replace("relu(n)", "add.Tensor(n, y)"),
      "the convolution's output is also read without the batch norm"),
     (NORM.replace("y = conv2d(x, @conv.weight)",
                   "s = sum(x)\n      w = mul.Tensor(@conv.weight, s)\n      y = conv2d(x, w)"),
      "the weight before the batch norm is computed")],
    ids=["own statistics", "not right after", "also read", "computed weight"],
)  # fmt: skip
def test_norms_that_stay_say_why(source: str, why: str) -> None:
    stays(FoldBatchNorm(), source, why=(why,))


def test_a_network_without_norms_stays() -> None:
    stays(
        FoldBatchNorm(),
        "program(x: f32[batch=2, 3]) f32\n  y = relu(x)\n  return y=y",
    )
