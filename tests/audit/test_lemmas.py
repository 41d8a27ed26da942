"""The lemmas of the normal form: what has one term computes the same, and what does not has two."""

from __future__ import annotations

import numpy as np
import pytest

from igc.audit.translation.entries import pick
from igc.audit.translation.gated import symbol
from igc.audit.translation.idioms import batch_norm
from igc.audit.translation.layers import Layers, Window
from igc.audit.translation.terms import NotShown, Store
from igc.audit.translation.value import Few, Known, Value, axis_of, reshaped

EPS = float(np.finfo(np.float32).eps)
RNG = np.random.default_rng(0)


def layers() -> Layers:
    return Layers(Store(EPS))


def image(on: Layers, channels: int = 3) -> Value:
    """[batch, channels, height, width]"""
    batch, height, width = (axis_of(("input", 0, n), symbol(n)) for n in ("b", "h", "w"))
    labels = [axis[0].label for axis in (batch, height, width)]
    ids = [on.store.call(("input", 0, c), (), labels) for c in range(channels)]
    return Value((batch, (Few(channels),), height, width), np.array(ids))


def window(kernel: int, pad: int) -> Window:
    return Window((kernel,) * 2, (1, 1), (pad,) * 2, (pad,) * 2, (1, 1))


def folded(kernel: np.ndarray, bias: np.ndarray, norm: dict[str, np.ndarray]) -> tuple:
    factor = norm["weight"] / np.sqrt(norm["var"] + 1e-5)
    wide = kernel * factor[:, None, None, None]
    shift = (bias - norm["mean"]) * factor + norm["bias"]
    return wide.astype(np.float32).astype(np.float64), shift.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_folded_batch_norm_is_the_convolution_and_the_norm(seed: int) -> None:
    make = np.random.default_rng(seed)
    on = layers()
    x, window3 = image(on), window(3, 1)
    kernel, bias = make.normal(size=(4, 3, 3, 3)), make.normal(size=4)
    norm = {k: make.uniform(0.5, 2.0, 4) * make.choice((-1, 1), 4) for k in ("weight", "bias")}
    norm |= {"mean": make.normal(size=4), "var": make.uniform(0.1, 2.0, 4)}
    apart = batch_norm(on, on.convolution(x, kernel, bias, window3, 1),
                       norm["weight"], norm["bias"], norm["mean"], norm["var"], 1e-5)  # fmt: skip
    on.store.close_gated()  # rounding is the file's
    one, shift = folded(kernel, bias, norm)
    assert np.array_equal(on.convolution(x, one, shift, window3, 1).ids, apart.ids)
    for array in (one, shift):
        place = np.unravel_index(np.abs(array).argmax(), array.shape)
        array[place] *= 1 + 1e-5
        assert not np.array_equal(on.convolution(x, one, shift, window3, 1).ids, apart.ids)
        array[place] /= 1 + 1e-5


def test_a_mix_is_the_sum_in_any_order_and_grouping() -> None:
    on = layers()
    a, b, c = (Value((), np.array(t)) for t in image(on).ids)
    weights = (0.25, 0.5, 0.125)
    left = on.add(on.add(a, b, by=weights[:2]), c, by=(1.0, weights[2]))
    right = on.add(on.add(c, b, by=(weights[2], weights[1])), a, by=(1.0, weights[0]))
    assert left.ids == right.ids
    stacked = on.linear(image(on).__class__(((Few(3),),), image(on).ids), np.array([weights]), None)
    assert stacked.ids == left.ids
    other = on.add(on.add(a, b, by=weights[:2]), c, by=(1.0, 0.126))
    assert left.ids != other.ids


def test_equal_operands_are_one_and_zeros_are_none() -> None:
    on = layers()
    a, b, _ = image(on).ids.tolist()
    assert on.store.sum([(a, 0.3), (a, 0.7)]) == a
    assert on.store.sum([(a, 1.0), (b, 0.0)]) == a
    assert on.store.value(on.store.sum([(a, 1.0), (a, -1.0)], 2.0)) == 2.0


def test_a_constant_channel_is_in_the_bias_where_nothing_is_padded() -> None:
    on = layers()
    x = image(on)
    fixed = Value(x.axes, np.array([x.ids[0], on.store.number(0.5), x.ids[2]]))
    kernel, bias = RNG.normal(size=(2, 3, 3, 3)), RNG.normal(size=2)
    less = kernel[:, [0, 2]]
    shift = bias + 0.5 * kernel[:, 1].sum(axis=(1, 2))
    two = Value((x.axes[0], (Few(2),), *x.axes[2:]), x.ids[[0, 2]])
    for pad in (0, 1):
        full = on.convolution(fixed, kernel, bias, window(3, pad), 1)
        part = on.convolution(two, less, shift, window(3, pad), 1)
        assert np.array_equal(full.ids, part.ids) == (pad == 0)  # else the border sees zeros


def test_permuted_channels_are_the_same_contraction() -> None:
    on = layers()
    x, order = image(on), [2, 0, 1]
    kernel = RNG.normal(size=(4, 3, 1, 1))
    turned = on.convolution(on.take(x, 1, order), kernel[:, order], None, window(1, 0), 1)
    assert np.array_equal(turned.ids, on.convolution(x, kernel, None, window(1, 0), 1).ids)


def test_an_entry_of_a_function_is_the_function_of_the_entry() -> None:
    on = layers()
    x = image(on)
    label = x.axes[2][0].label
    before = on.apply("relu", on.scale(on.take(x, 2, np.asarray(4)), 2.0, 1.0))
    after = on.take(on.apply("relu", on.scale(x, 2.0, 1.0)), 2, np.asarray(4))
    assert np.array_equal(before.ids, after.ids)
    pooled = on.pool(x, "max pool", window(3, 1)).ids[0]  # entries meet
    assert on.store.what[pick(on.store, int(pooled), label, 0)][0][0] == "pick"


def test_splitting_and_merging_an_axis_changes_nothing() -> None:
    on = layers()
    x = Value((axis_of("l", 12), (Few(4),)), image(on, 4).ids)
    parts = reshaped(on.store, x, [3, 4, 2, 2])
    again = reshaped(on.store, parts, [12, 4])
    assert again.axes == x.axes
    assert np.array_equal(again.ids, x.ids)


class TestOfTheFile:
    """What would be right for real numbers, and is not for a computer's."""

    def test_what_cancels_is_not_shown(self) -> None:
        on = layers()
        a, b, c = image(on).ids.tolist()
        on.store.close_gated()
        with pytest.raises(NotShown, match="cancels"):
            on.store.sum([(on.store.sum([(a, 1.0), (b, 1e9)]), 1.0), (b, -1e9)])
        with pytest.raises(NotShown, match="numbers cancel"):
            on.store.sum([(on.store.sum([(c, 1.0)], 1e9), 1.0)], -1e9)

    def test_what_may_overflow_is_not_shown(self) -> None:
        on = layers()
        a = int(image(on).ids[0])
        on.store.close_gated()
        with pytest.raises(NotShown, match="overflow"):
            on.store.sum([(a, 2.0**100)])

    def test_zero_times_what_no_output_is_made_of_is_not_shown(self) -> None:
        on = layers()
        a, b, _ = image(on).ids.tolist()
        on.store.close_gated()
        on.store.require_used([on.store.sum([(a, 1.0), (a, 0.0)])])
        with pytest.raises(NotShown, match="by zero"):
            on.store.require_used([on.store.sum([(a, 1.0), (b, 0.0)])])

    def test_two_axes_of_one_name_are_renamed_apart(self) -> None:
        on = layers()
        x = image(on, 1)
        square = on.apply("gt", Value((x.axes[2], ()), x.ids[0]), Value(((), x.axes[2]), x.ids[0]))
        labels = [axis[0].label for axis in square.axes]
        assert len(set(labels)) == 2


def test_a_constant_that_varies_along_an_axis_has_to_fit_it() -> None:
    on = layers()
    x = image(on, 1)
    with pytest.raises(NotShown, match="numbers along an axis"):
        on.add(Value(x.axes[2:3], x.ids[0]), Known(np.arange(3.0)))
