"""What both readers spell out in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from igc.audit.translation.layers import Layers, Window
from igc.audit.translation.value import Few, Known, Value, each, permuted, reshaped, tidy


def batch_norm(
    on: Layers, x: Value, weight: Any, bias: Any, mean: Any, var: Any, eps: float
) -> Any:
    """x * s + (bias - mean * s), s = weight / sqrt(var + eps), along axis 1."""
    with np.errstate(invalid="ignore", divide="ignore"):  # anybody's numbers
        factor = (1.0 if weight is None else weight) / np.sqrt(var + eps)
    shift = (0.0 if bias is None else bias) - mean * factor
    shape = [-1, *[1] * (len(x.axes) - 2)]
    scaled = on.mul(x, Known(np.reshape(factor, shape)))
    return on.add(scaled, Known(np.reshape(shift, shape)))


def affine(on: Layers, x: Any, weight: Any, bias: Any) -> Any:
    """x * weight + bias, broadcast."""
    for op, numbers in ((on.mul, weight), (on.add, bias)):
        x = x if numbers is None else op(x, Known(numbers))
    return x


def tiled(on: Layers, x: Value, counts: list[Any]) -> Any:
    """Copies side by side along each axis; in front of it, for counts that are more than axes."""
    for _ in range(len(counts) - len(x.axes)):
        x = Value(((), *x.axes), x.ids)
    wanted = [c if not x.axes[a] else 1 for a, c in enumerate(counts)]
    for a, c in enumerate(counts):
        if x.axes[a] and c != 1:
            x = on.value(on.concat([x] * int(c), a))
    return on.expanded(x, wanted)


def lookup(on: Layers, table: Any, places: Value) -> Value:
    """Rows of a table at the places that the input gives."""
    columns = [
        each(on.store, places, lambda t, c=column: on.store.call(  # type: ignore[misc]
            ("lookup", c.astype(np.float32).tobytes()), (t,), on.store.dims[t]))
        for column in table.T
    ]  # fmt: skip
    ids = np.stack(columns, axis=-1)
    return tidy(Value((*places.axes, (Few(len(columns)),)), ids))


def pixel_shuffle(on: Layers, x: Value, block: int) -> Value:
    """[N, C r r, H, W] -> [N, C, H r, W r], the channel first."""
    n, c, h, w = (x.size(a) for a in range(4))
    x = reshaped(on.store, x, [n, c / block**2, block, block, h, w])
    x = permuted(x, [0, 1, 4, 2, 5, 3])
    return reshaped(on.store, x, [n, c / block**2, h * block, w * block])


def settled(x: Value, window: Window) -> Window:
    """A window that may reach over the edge, where it does not."""
    if not window.up:
        return window
    axes = len(window.kernel)
    down = Window(window.kernel, window.stride, window.before, window.after, window.dilation)
    sizes = [x.size(len(x.axes) - axes + a) for a in range(axes)]
    same = all(window.size(a, s) == down.size(a, s) for a, s in enumerate(sizes))
    return down if same else window


def cast_between(on: Layers, x: Any, before: Any, after: Any, own: torch.dtype) -> Any:
    """A cast: none where the types are the same; else an operation, told by what it makes."""
    if before == after:
        return x
    return on.apply("cast", x, attributes=("own" if after == own else str(after),))
