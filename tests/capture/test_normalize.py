"""The steps of normalisation, each alone: what becomes what, and what stays the same object."""

from __future__ import annotations

import operator
from typing import Any

import torch
from call_programs import Build, everything, program, text

from igc.capture.normalize import normalize, rewritten, without_empty_pieces
from igc.capture.shuffles import with_shuffles
from igc.capture.sizes import settle_sizes
from igc.program.execute import execute

aten = torch.ops.aten
X = torch.randn(2, 6, 4, 5)
SIZES = {0: "batch", 2: "height"}


def joined(call: Build, x: Any, axis: int, end: int) -> Any:
    piece = call(aten.slice.Tensor, x, axis, 0, end)
    return call(aten.cat.default, [piece, x, x], axis)


def test_pieces_that_are_always_empty_are_not_joined() -> None:
    after = without_empty_pieces(program(lambda call, x: joined(call, x, 1, 0), X, sizes=SIZES))
    assert text(after) == "cat([x, x], 1)"


def test_pieces_that_hold_something_at_another_size_stay() -> None:
    """x[:, :, :-4] is empty at a height of 4 alone."""
    given = program(lambda call, x: joined(call, x, 2, -4), X, sizes=SIZES)
    assert without_empty_pieces(given) is given
    plain = program(lambda call, x: joined(call, x, 1, 2), X)
    assert without_empty_pieces(plain) is plain


def test_an_empty_piece_that_decides_the_type_stays() -> None:
    given = program(
        lambda call, x, y: call(aten.cat.default, [call(aten.slice.Tensor, x, 1, 0, 0), y], 1),
        X.double(), X,
    )  # fmt: skip
    assert text(without_empty_pieces(given)) == "cat([slice.Tensor(x, 1, 0, 0), y], 1)"
    narrow = program(
        lambda call, x, y: call(aten.cat.default, [call(aten.slice.Tensor, x, 1, 0, 0), y], 1),
        X.half(), X,
    )  # fmt: skip
    assert text(without_empty_pieces(narrow)) == "cat([y], 1)"


def test_pieces_that_are_all_empty_stay() -> None:
    given = program(
        lambda call, x: call(aten.cat.default, [call(aten.slice.Tensor, x, 1, 0, 0)], 1), X
    )
    assert text(without_empty_pieces(given)) == text(given)


def test_sizes_are_numbers_or_read_off_an_input() -> None:
    def build(call: Build, x: Any) -> Any:
        y = call(aten.permute.default, call(aten.neg.default, x), [0, 2, 1, 3])
        batch, height, channels, width = (call(aten.sym_size.int, y, axis) for axis in range(4))
        half = call(operator.floordiv, channels, 2)
        rows = call(operator.mul, height, width)
        return call(aten.reshape.default, y, [batch, rows, half, 2])

    given = program(build, X, sizes=SIZES)
    before = everything(given)
    after = settle_sizes(given)
    assert text(after) == (
        "reshape(permute(neg(x), [0, 2, 1, 3]), "
        "[sym_size.int(x, 0), mul(sym_size.int(x, 2), 5), 3, 2])"
    )
    assert everything(given) == before
    wide = torch.randn(3, 6, 8, 5)
    assert torch.equal(*(execute(p, [wide])[0] for p in (given, after)))


def shuffled(call: Build, x: Any, order: list[int]) -> Any:
    split = call(aten.reshape.default, x, [2, 2, 3, 4, 5])
    return call(aten.reshape.default, call(aten.permute.default, split, order), [2, 6, 4, 5])


def test_three_calls_that_shuffle_channels_are_one() -> None:
    given = program(lambda call, x: shuffled(call, x, [0, 2, 1, 3, -1]), X)
    before = everything(given)
    after = with_shuffles(given)
    assert text(after) == "channel_shuffle(x, 2)"
    assert everything(given) == before
    assert torch.equal(*(execute(p, [X])[0] for p in (given, after)))


def test_other_permutations_between_reshapes_stay() -> None:
    given = program(lambda call, x: shuffled(call, x, [0, 2, 1, 4, 3]), X)
    assert text(with_shuffles(given)) == text(given)
    plain = program(lambda call, x: call(aten.permute.default, x, [0, 2, 1, 3]), X)
    assert with_shuffles(plain) is plain


def test_tensors_made_of_nothing_say_their_type() -> None:
    def build(call: Build, x: Any) -> Any:
        lines = call(aten.zeros.default, [5]), call(aten.arange.default, 5)
        return [
            *lines,
            call(aten.ones.default, [5], dtype=torch.float64),
            call(aten.neg.default, x),
        ]

    assert text(rewritten(program(build, X))).split("\n") == [
        "zeros([5], dtype=float32)", "arange(5)", "ones([5], dtype=float64)", "neg(x)",
    ]  # fmt: skip


def test_what_torch_asserts_is_gone() -> None:
    def build(call: Build, x: Any) -> Any:
        call(aten._assert_tensor_metadata.default, x, None, None, torch.float32)
        return call(aten.neg.default, x)

    after = normalize(program(build, X))
    calls = [n.target for n in after.graph.nodes if n.op == "call_function"]
    assert calls == [aten.neg.default]
