"""RemoveDeadNodes in text: what no output reads goes, inputs apart."""

from __future__ import annotations

from in_text import becomes, stays

from igc.passes.cleanup import RemoveDeadNodes


def test_what_no_output_reads_goes_with_its_constants() -> None:
    becomes(
        RemoveDeadNodes(),
        """
        program(x: f32[batch=2, 4], unused: f32[3]) f32
          y = linear(x, @weight)
          dead = linear(x, @dead)
          deader = relu(dead)
          return y=y
          @weight f32[2, 4]
          @dead f32[2, 4]
        """,
        """
        program(x: f32[batch=2, 4], unused: f32[3]) f32
          y = linear(x, @weight)
          return y=y
          @weight f32[2, 4]
        """,
    )


def test_inputs_that_nothing_reads_stay() -> None:
    stays(
        RemoveDeadNodes(),
        """
        program(x: f32[batch=2, 4], unused: f32[3]) f32
          y = linear(x, @weight)
          return y=y
          @weight f32[2, 4]
        """,
    )
