"""Shapes, budgets and task lists as typed."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from igc_cli.parse import DTYPES, InputShape, parse_input, parse_quantity, parse_tasks


@pytest.mark.parametrize(
    ("text", "sizes", "dtype"),
    [
        ("1x3x224x224", (1, 3, 224, 224), "float32"),
        ("2X16", (2, 16), "float32"),
        ("1x16:int64", (1, 16), "int64"),
        (" 8 ", (8,), "float32"),
        ("1x3:bfloat16", (1, 3), "bfloat16"),
    ],
)
def test_input(text: str, sizes: tuple[int, ...], dtype: str) -> None:
    assert parse_input(text) == InputShape(sizes, dtype)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a shape"),
        ("x", "not a shape"),
        ("1x", "not a shape"),
        ("x3", "not a shape"),
        ("1,3,224,224", "write it like 1x3x224x224"),
        ("1x-3", "not a shape"),
        ("1x3.5", "not a shape"),
        ("1xx3", "not a shape"),
        ("axb", "not a shape"),
        ("(1x3)", "not a shape"),
        ("1x0x3", "at least 1"),
        ("100000x100000x100000", "at most"),
        ("1x3:", "no known number type"),
        ("1x3:float", "no known number type"),
        ("1x3:int64:int64", "no known number type"),
        ("²x3", "not a shape"),
        ("1x" + "9" * 5000, "not a shape"),
    ],
)
def test_input_refused(text: str, says: str) -> None:
    with pytest.raises(typer.BadParameter, match=says):
        parse_input(text)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sampled_from(DTYPES),
)
def test_input_round_trip(sizes: list[int], dtype: str) -> None:
    shape = InputShape(tuple(sizes), dtype)
    assert parse_input(str(shape)) == shape


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.2G", 1.2e9),
        ("4M", 4e6),
        ("350k", 350e3),
        ("350K", 350e3),
        ("1.5T", 1.5e12),
        ("2.", 2.0),
        (".5g", 5e8),
        ("123456", 123456.0),
        ("1.2e9", 1.2e9),
        ("1e3k", 1e6),
        ("4 M", 4e6),
    ],
)
def test_quantity(text: str, value: float) -> None:
    assert parse_quantity(text).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "G", "1.2X", "-4M", "nan", "inf", "1e999", "0", "0.0M", "4MB", "1,2G", "0x10", "٣"]
)
def test_quantity_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_quantity(text)


def test_tasks() -> None:
    assert parse_tasks("seg").names == ("seg",)
    assert parse_tasks("seg, depth").names == ("seg", "depth")


@pytest.mark.parametrize("text", ["", ",", "seg,", "seg,,depth", "seg,seg"])
def test_tasks_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_tasks(text)
