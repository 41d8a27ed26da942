"""SpellOutWrites in text: writes at constant places, and those that stay."""

from __future__ import annotations

import pytest
from in_text import becomes, stays

from igc.passes.writes import SpellOutWrites

GIVEN = "program(x: f32[batch=2, 4], y: f32[batch, 2]) f32"


@pytest.mark.parametrize(
    ("call", "constants", "written"),
    [
        (
            "index_copy(x, -1, @at, y)",
            "@at i64[2] 3 0",
            """
            cat_default = cat([x, y], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 5 1 2 4
            """,
        ),
        (
            "index_put(x, [None, @at], y)",
            "@at i64[2] -1 0",
            """
            cat_default = cat([x, y], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 5 1 2 4
            """,
        ),
        (
            "index_put(x, [None, @at], y)",
            "@at bool[4] 0 1 0 1",
            """
            cat_default = cat([x, y], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 0 4 2 5
            """,
        ),
        (
            "index_fill.int_Scalar(x, 1, @at, 0.5)",
            "@at i64[2] 1 2",
            """
            sym_size_int = sym_size.int(x, 0)
            full_default = full([sym_size_int, 1], 0.5, dtype=torch.float32, device=device('cpu'))
            cat_default = cat([x, full_default], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 0 4 4 3
            """,
        ),
        (
            "slice_scatter(x, y, 1, -4, 9, 2)",
            "",
            """
            cat_default = cat([x, y], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 4 1 5 3
            """,
        ),
        (
            "masked_scatter(x, @mask, y)",
            "@mask bool[4] 1 0 0 1",
            """
            cat_default = cat([x, y], 1)
            z = index_select(cat_default, 1, @index)
            return z=z
            @index i64[4] 4 1 2 5
            """,
        ),
        (
            "index_add(x, 1, @at, y, alpha=2)",
            "@at i64[2] 3 1",
            """
            sym_size_int = sym_size.int(x, 0)
            full_default = full([sym_size_int, 1], 0, dtype=torch.float32, device=device('cpu'))
            cat_default = cat([full_default, y], 1)
            index_select_default = index_select(cat_default, 1, @index)
            z = add.Tensor(x, index_select_default, alpha=2)
            return z=z
            @index i64[4] 0 2 0 1
            """,
        ),
    ],
)
def test_a_write_becomes_a_concatenation_and_a_gather(
    call: str, constants: str, written: str
) -> None:
    before = f"{GIVEN}\n z = {call}\n return z=z\n {constants}"
    becomes(SpellOutWrites(), before, f"{GIVEN}\n{written}")


def test_what_is_added_twice_to_a_place_is_added_one_after_the_other() -> None:
    becomes(
        SpellOutWrites(),
        f"{GIVEN}\n z = index_add(x, 1, @at, y)\n return z=z\n @at i64[2] 1 1",
        f"""
        {GIVEN}
        sym_size_int = sym_size.int(x, 0)
        full_default = full([sym_size_int, 1], 0, dtype=torch.float32, device=device('cpu'))
        cat_default = cat([full_default, y], 1)
        index_select_default = index_select(cat_default, 1, @index)
        add_tensor = add.Tensor(x, index_select_default)
        cat_default_1 = cat([full_default, y], 1)
        index_select_default_1 = index_select(cat_default_1, 1, @index~1)
        z = add.Tensor(add_tensor, index_select_default_1)
        return z=z
        @index i64[4] 0 1 0 0
        @index~1 i64[4] 0 2 0 0
        """,
    )


def test_an_index_repeated_over_the_batch_is_one_line_of_places() -> None:
    becomes(
        SpellOutWrites(),
        f"""
        {GIVEN}
        n = sym_size.int(x, 0)
        at = expand(@at, [n, -1])
        z = scatter.src(x, 1, at, y)
        return z=z
        @at i64[1, 2] 2 0
        """,
        f"""
        {GIVEN}
        cat_default = cat([x, y], 1)
        z = index_select(cat_default, 1, @index)
        return z=z
        @index i64[4] 5 1 4 3
        """,
    )


def test_a_gather_with_one_line_of_places_is_a_gather_of_channels() -> None:
    becomes(
        SpellOutWrites(),
        f"""
        {GIVEN}
        n = sym_size.int(x, 0)
        at = expand(@at, [n, 3])
        z = gather(x, 1, at)
        return z=z
        @at i64[3] 2 0 0
        """,
        f"""
        {GIVEN}
        index_select_default = index_select(x, 1, @index)
        return z=index_select_default
        @index i64[3] 2 0 0
        """.replace("index_select_default", "z"),
    )


@pytest.mark.parametrize(
    ("call", "constants", "why"),
    [
        ("index_copy(x, 1, @at, y)", "@at i64[2] 1 1",
         "its places repeat: which of the values stays is up to the runtime"),
        ("index_put(x, [@rows, @at], @v)", "@rows i64[2] 0 1\n@at i64[2] 1 1\n@v f32[] 0",
         "its places lie along several axes"),
        ("index_fill.int_Scalar(x, 0, @at, 0)", "@at i64[1] 1",
         "the input chooses the size of its axis"),
        ("index_fill.int_Scalar(x, 1, at, 0)", "@at i64[2] 1 0", "its places are not constant"),
        ("masked_scatter(x, @mask, x)", "@mask bool[4] 1 0 0 1",
         "its source has other entries than those that are written"),
    ],
)  # fmt: skip
def test_what_is_not_known_stays_as_it_was(call: str, constants: str, why: str) -> None:
    chosen = " argm = argmax(y)\n at = unsqueeze(argm, 0)\n" if " at," in call else ""
    source = f"{GIVEN}\n{chosen} z = {call}\n return z=z\n {constants}"
    stays(SpellOutWrites(), source, why=(why,))


def test_lines_that_differ_over_another_axis_stay() -> None:
    stays(
        SpellOutWrites(),
        """
        program(x: f32[2, 4]) f32
          z = gather(x, 1, @at)
          return z=z
          @at i64[2, 2] 0 1 1 0
        """,
        why=("its places differ along another axis",),
    )
