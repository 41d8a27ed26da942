"""`einsum` and `tensordot` as products of matrices whose axes stay apart.

Torch writes both as one product of matrices, and merges axes for it: the batch with the heads, the
branches' batch with their channels. Along an axis that is merged with one whose size the input
chooses nothing can be cut. Here axes that both operands have, and the leading ones of either, stay
axes of their own, along which `matmul` broadcasts.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def einsum(equation: str, tensors: Sequence[Tensor], *, path: Any = None) -> Any:
    """`torch.einsum`, left to right; `NotImplemented` where a letter stands twice in an operand."""
    told = _letters(equation, tensors)
    if told is None or path is not None:
        return NotImplemented
    operands, out = told
    x, have = tensors[0], operands[0]
    for i, (other, letters) in enumerate(zip(tensors[1:], operands[1:], strict=True)):
        later = set(out).union(*operands[i + 2 :])
        x, have = _product(x, have, other, letters, later)
    x, have = _summed(x, have, set(out))
    return _ordered(x, have, out)


def tensordot(a: Tensor, b: Tensor, dims_self: Sequence[int], dims_other: Sequence[int]) -> Any:
    """`torch.tensordot`; `NotImplemented` where an axis of size 1 meets a longer one."""
    first = string.ascii_letters[: a.ndim]
    second = list(string.ascii_letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(dims_self, dims_other, strict=True):
        if a.shape[i] != b.shape[j]:
            return NotImplemented
        second[j % b.ndim] = first[i % a.ndim]
    out = [c for c in first if c not in second] + [c for c in second if c not in first]
    x, have = _product(a, first, b, "".join(second), set(out))
    return _ordered(x, have, "".join(out))


def _letters(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str] | None:
    """The letters of every operand and of the result, an ellipsis written out."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) != len(tensors) or not all(operands):
        return None
    free = [c for c in string.ascii_letters if c not in equation]
    ranks = [
        t.ndim - len(o.replace("...", "")) for t, o in zip(tensors, operands, strict=True)
        if "..." in o
    ]  # fmt: skip
    if len(free) < max(ranks, default=0):
        return None
    dots = "".join(free[: max(ranks, default=0)])
    whole = []
    for t, o in zip(tensors, operands, strict=True):
        mine = t.ndim - len(o.replace("...", ""))
        whole.append(o.replace("...", dots[len(dots) - mine :] if mine else ""))
        if len(whole[-1]) != t.ndim or len(set(whole[-1])) != t.ndim:
            return None
    if not arrow:
        once = sorted(c for c in set("".join(operands)) - {"."} if left.count(c) == 1)
        out = ("..." if dots else "") + "".join(once)
    out = out.replace("...", dots)
    sizes: dict[str, Any] = {}
    for t, o in zip(tensors, whole, strict=True):
        for size, c in zip(t.shape, o, strict=True):
            if not _equal(sizes.setdefault(c, size), size):
                return None  # an axis of size 1 that is broadcast
    return (whole, out) if len(set(out)) == len(out) and set(out) <= set(sizes) else None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, int) != isinstance(b, int):
        return False
    return bool(a == b) if isinstance(a, int) else str(a) == str(b)


def _product(a: Tensor, first: str, b: Tensor, second: str, later: set[str]) -> tuple[Tensor, str]:
    """The product of two operands, added up over what nothing reads later, and its letters."""
    a, first = _summed(a, first, later | set(second))
    b, second = _summed(b, second, later | set(first))
    shared = [c for c in first if c in second and c in later]
    over = [c for c in first if c in second and c not in later]
    rows, columns = ([c for c in x if c not in y] for x, y in ((first, second), (second, first)))
    sizes = dict(zip(first + second, (*a.shape, *b.shape), strict=True))
    if not over:  # nothing is added up: a plain product
        have = [*shared, *rows, *columns]
        x, y = _aligned(a, first, have), _aligned(b, second, have)
        return aten.mul.Tensor(x, y), "".join(have)
    if len(columns) > len(rows):  # what has fewer axes of its own is the matrix
        return _product(b, second, a, first, later)
    batch_a, m = rows[:-1], rows[-1:]
    batch_b, n = _parted(columns, sizes)
    batch = [*shared, *batch_a, *batch_b]
    left = _merged(_aligned(a, first, [*batch, *m, *over]), len(m), len(over))
    right = _merged(_aligned(b, second, [*batch, *over, *n]), len(over), len(n))
    y = aten.matmul.default(left, right)
    if len(m) != 1 or len(n) != 1:
        lead = list(y.shape[: len(batch)])
        y = aten.reshape.default(y, [*lead, *(sizes[c] for c in m), *(sizes[c] for c in n)])
    return y, "".join([*batch, *m, *n])


def _parted(letters: list[str], sizes: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The axes that the matrix alone has: those that stay apart, and the last ones, merged.

    Sizes that the input chooses are not merged with fixed ones.
    """
    at = len(letters)
    while at and isinstance(sizes[letters[at - 1]], int) == isinstance(sizes[letters[-1]], int):
        at -= 1
    return letters[:at], letters[at:]


def _merged(x: Tensor, first: int, second: int) -> Tensor:
    """A stack of matrices: the last `second` axes as columns, `first` before them as rows."""
    if (first, second) == (1, 1):
        return x
    lead = x.ndim - first - second
    shape = list(x.shape)
    rows, columns = shape[lead : lead + first], shape[lead + first :]
    merged: Tensor = aten.reshape.default(x, [*shape[:lead], prod(rows), prod(columns)])
    return merged


def _aligned(x: Tensor, have: str, want: Sequence[str]) -> Tensor:
    """The axes in the order of `want`; those that it lacks have size one, or none if they lead."""
    x = _ordered(x, have, "".join(c for c in want if c in have))
    first = next((i for i, c in enumerate(want) if c in have), len(want))
    for axis, c in enumerate(want[first:]):
        if c not in have:
            x = aten.unsqueeze.default(x, axis)
    return x


def _ordered(x: Tensor, have: str, want: str) -> Tensor:
    return x if have == want else aten.permute.default(x, [have.index(c) for c in want])


def _summed(x: Tensor, have: str, later: set[str]) -> tuple[Tensor, str]:
    """Without the axes that nothing reads."""
    gone = [i for i, c in enumerate(have) if c not in later]
    if not gone:
        return x, have
    return aten.sum.dim_IntList(x, gone), "".join(c for c in have if c in later)


CONTRACTIONS: Mapping[Any, Callable[..., Any]] = {
    aten.einsum.default: einsum,
    aten.tensordot.default: tensordot,
}
"""By op, what writes it out."""
