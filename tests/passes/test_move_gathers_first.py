"""MoveGathersFirst in text: gathers along the last of three axes; others stay where they are."""

from __future__ import annotations

from in_text import becomes, stays

from igc.passes.gathers import MoveGathersFirst


def test_a_gather_along_the_last_axis_gathers_rows() -> None:
    becomes(
        MoveGathersFirst(),
        """
        program(x: f32[batch=2, 5, 4]) f32
          y = index_select(x, -1, @index)                        # blocks.0
          return y=y
          @index i64[3] 3 0 1
        """,
        """
        program(x: f32[batch=2, 5, 4]) f32
          permute_default = permute(x, [2, 0, 1])                # blocks.0
          index_select_default = index_select(permute_default, 0, @index)  # blocks.0
          permute_default_1 = permute(index_select_default, [1, 2, 0])  # blocks.0
          return y=permute_default_1
          @index i64[3] 3 0 1
        """,
    )


def test_gathers_along_other_axes_and_of_matrices_stay() -> None:
    stays(
        MoveGathersFirst(),
        """
        program(x: f32[batch=2, 5, 4], z: f32[batch, 4]) f32
          y = index_select(x, 1, @index)
          w = index_select(z, 1, @index)
          return y=y, w=w
          @index i64[3] 3 0 1
        """,
    )
