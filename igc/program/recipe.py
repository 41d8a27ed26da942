"""Recipes: how a constant of the compiled network is made of the checkpoint's tensors.

A recipe is a nested tuple, plain data that a manifest can hold and an auditor can evaluate without
any pass. Numbers of channels are those of the tensor or node named.

    ("tensor", name)                       a checkpoint tensor
    ("node", name)                         a node of the gated graph that depends on constants
                                           alone: the softmax of a mix, a masked kernel
    ("take", recipe, (index, ...))         rows, columns, ... : one index per axis, None for all
    ("select", recipe, axis, number)       one entry of an axis, which goes
    ("groups", recipe, first, second)      cat over g of recipe[first[g]][:, second[g]]
    ("scale", kernel, axis, groups, gamma, var, eps)      kernel * gamma / sqrt(var + eps)
    ("shift", bias, gamma, beta, mean, var, eps)          (bias - mean) * gamma / ... + beta
    ("slope", node, axis, size, (part, ...))     d node[channel] / d source[channel]
    ("known", node, axis, channels)        the value of channels that are constant
    ("transposed", recipe)                 a matrix, as ONNX stores it

A part of a slope is (places, channels, sources, source, picks, equal): at these places of the
vector stand the derivatives of `node` at `channels` by `source` at `picks`, all of `sources` being
held apart. Other nodes may hold channels that equal the picked ones, the same rows applied to the
same input; their derivatives are added: `equal` lists (node, places in picks, channels). The
vector is zero elsewhere. A source "" stands for the value of `node` where all of them are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Recipe = tuple[Any, ...]
Numbers = tuple[int, ...]


def take(recipe: Recipe | None, index: Sequence[Numbers | None]) -> Recipe | None:
    """`recipe` at one index per axis; two takes in a row become one."""
    if recipe is None:
        return None
    if recipe[0] != "take":
        return ("take", recipe, tuple(index))
    joined = tuple(
        old if new is None else new if old is None else tuple(old[i] for i in new)
        for old, new in zip(recipe[2], index, strict=True)
    )
    return ("take", recipe[1], joined)


def over(kind: str, *parts: Any) -> Recipe | None:
    """(kind, *parts), or None where one of the recipes among them is missing."""
    return None if any(p is MISSING for p in parts) else (kind, *parts)


MISSING = object()


def required(recipe: Recipe | None) -> Any:
    """The recipe, or a mark for `over` that there is none."""
    return MISSING if recipe is None else recipe
