"""ChooseLayout in text: branches of a site gather from one concatenation where they can."""

from __future__ import annotations

import pytest
from in_text import becomes, stays

from igc.passes.layout import ChooseLayout

SITE = """
    program(a: f32[batch=2, 2], b: f32[batch, 2], c: f32[batch, 3]) f32
      one = cat([a, b], 1)
      first = index_select(one, 1, @index)                       # first
      two = cat([a, c], 1)
      second = index_select(two, 1, @index~1)                    # second
      return first=first, second=second
      @index i64[3] 3 0 2
      @index~1 i64[3] 4 1 2
"""


def test_gathers_from_the_same_sources_share_one_concatenation() -> None:
    """a, b, c are channels 0-1, 2-3 and 4-6 of the one that is joined."""
    becomes(
        ChooseLayout(),
        SITE,
        """
        program(a: f32[batch=2, 2], b: f32[batch, 2], c: f32[batch, 3]) f32
          cat_default = cat([a, b, c], 1)                        # first
          index_select_default = index_select(cat_default, 1, @index~2)  # first
          index_select_default_1 = index_select(cat_default, 1, @index~3)  # second
          return first=index_select_default, second=index_select_default_1
          @index~2 i64[3] 3 0 2                                  # computed
          @index~3 i64[3] 6 1 4                                  # computed
        """,
    )


def test_channels_that_lie_at_equal_distances_become_a_slice() -> None:
    becomes(
        ChooseLayout(),
        SITE.replace("i64[3] 3 0 2", "i64[2] 0 2"),
        """
        program(a: f32[batch=2, 2], b: f32[batch, 2], c: f32[batch, 3]) f32
          cat_default = cat([a, b, c], 1)
          slice_tensor = slice.Tensor(cat_default, 1, 0, 3, 2)
          index_select_default = index_select(cat_default, 1, @index~2)
          return first=slice_tensor, second=index_select_default
          @index~2 i64[3] 6 1 4
        """,
    )


@pytest.mark.parametrize(
    "source",
    [SITE.replace("[a, c]", "[c, c]"),
     SITE.replace("two = cat([a, c], 1)", "d = mul.Tensor(first, 2)\n      two = cat([a, d], 1)"),
     SITE.replace("cat([a, c], 1)", "cat([a, b], 0)").replace("two, 1,", "two, 0,")
         .replace("4 1 2", "3 1 2")],
    ids=["no common source", "one waits for the other", "another axis"],
)  # fmt: skip
def test_other_concatenations_stay(source: str) -> None:
    stays(ChooseLayout(), source)


def test_a_concatenation_that_is_read_whole_stays_and_says_so() -> None:
    stays(
        ChooseLayout(),
        SITE.replace("return first=first", "return one=one, first=first"),
        why=("its concatenation is also read without a gather",),
    )
