"""Recipes: how a constant of the compiled network is made of the checkpoint's tensors.

A recipe is plain data that a manifest can hold (`to_data`, `from_data`) and an auditor can evaluate
without any pass. Numbers of channels are those of the tensor or node named. In a manifest they are
told once and named by their place in its `index`: a recipe that was read from one holds places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

Numbers: TypeAlias = tuple[int, ...]
Place: TypeAlias = Callable[[Numbers], int]

CHANNELS = {"channels": True}  # of fields that hold numbers of channels


class _Data:
    """What can be told as a list: its fields in order."""

    def to_data(self, place: Place) -> list[Any]:
        """The fields as JSON can hold them; `place` is asked where channel numbers stand."""
        return [
            _placed(value, place) if told.metadata == CHANNELS else _told(value, place)
            for told, value in self._fields()
        ]

    def _fields(self) -> Iterator[tuple[Any, Any]]:
        for told in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            yield told, getattr(self, told.name)


class Recipe(_Data):
    """How to make a tensor; `kind` is what a manifest calls it."""

    kind: ClassVar[str]

    def to_data(self, place: Place) -> list[Any]:
        """The recipe as JSON can hold it."""
        return [self.kind, *super().to_data(place)]

    def within(self) -> Iterator[Recipe]:
        """The recipe and those that it is made of."""
        yield self
        for _, value in self._fields():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(part, Recipe):
                    yield from part.within()


@dataclass(frozen=True)
class Stored(Recipe):
    """A checkpoint tensor."""

    kind: ClassVar[str] = "tensor"
    name: str


@dataclass(frozen=True)
class Computed(Recipe):
    """A node of the gated graph that depends on constants alone: a softmax, a masked kernel."""

    kind: ClassVar[str] = "node"
    name: str


@dataclass(frozen=True)
class Take(Recipe):
    """Rows, columns, ...: one list of numbers per axis, None for all of it."""

    kind: ClassVar[str] = "take"
    of: Recipe
    index: Sequence[Numbers | None] = field(metadata=CHANNELS)


@dataclass(frozen=True)
class Select(Recipe):
    """One entry of an axis, which goes."""

    kind: ClassVar[str] = "select"
    of: Recipe
    axis: int
    number: int


@dataclass(frozen=True)
class Groups(Recipe):
    """Of a grouped kernel: cat over g of kernel[first[g]][:, second[g]]."""

    kind: ClassVar[str] = "groups"
    of: Recipe
    first: Sequence[Numbers] = field(metadata=CHANNELS)
    second: Sequence[Numbers] = field(metadata=CHANNELS)


@dataclass(frozen=True)
class Scale(Recipe):
    """A kernel with its batch norm folded in: kernel * gamma / sqrt(var + eps) along an axis."""

    kind: ClassVar[str] = "scale"
    kernel: Recipe
    axis: int
    groups: int  # of a transposed convolution [in, out / groups, ...], else 1
    gamma: Recipe | None
    var: Recipe
    eps: float


@dataclass(frozen=True)
class Shift(Recipe):
    """The bias with a batch norm folded in: (bias - mean) * gamma / sqrt(var + eps) + beta."""

    kind: ClassVar[str] = "shift"
    bias: Recipe | None
    gamma: Recipe | None
    beta: Recipe | None
    mean: Recipe
    var: Recipe
    eps: float


@dataclass(frozen=True)
class Twin(_Data):
    """Channels `own` of another node that equal those that were picked, at `places` among them."""

    node: str
    places: Numbers = field(metadata=CHANNELS)
    own: Numbers = field(metadata=CHANNELS)


@dataclass(frozen=True)
class Part(_Data):
    """At places `at` of the vector: d node[channels] / d source[picks], all `sources` held apart.

    The derivatives by `equal`, channels elsewhere that hold the same, are added. A source "" stands
    for the value of the node where all sources are zero.
    """

    at: Numbers = field(metadata=CHANNELS)
    channels: Numbers = field(metadata=CHANNELS)
    sources: Sequence[str]
    source: str
    picks: Numbers = field(metadata=CHANNELS)
    equal: Sequence[Twin]


@dataclass(frozen=True)
class Slope(Recipe):
    """Coefficients of a sum, one per channel: d node / d source, zero where no part names them."""

    kind: ClassVar[str] = "slope"
    node: str
    axis: int
    size: int
    parts: Sequence[Part]


@dataclass(frozen=True)
class Known(Recipe):
    """The value of channels that are constant."""

    kind: ClassVar[str] = "known"
    node: str
    axis: int
    channels: Numbers = field(metadata=CHANNELS)


@dataclass(frozen=True)
class Transposed(Recipe):
    """A matrix, as ONNX stores it."""

    kind: ClassVar[str] = "transposed"
    of: Recipe


@dataclass(frozen=True)
class Same(Recipe):
    """What several recipes give: constants that hold the same numbers were made one."""

    kind: ClassVar[str] = "same"
    of: Sequence[Recipe]


KINDS: dict[str, type[Recipe]] = {
    made.kind: made
    for made in (
        Stored,
        Computed,
        Take,
        Select,
        Groups,
        Scale,
        Shift,
        Slope,
        Known,
        Transposed,
        Same,
    )
}


def from_data(data: Any) -> Recipe:
    """The recipe that `to_data` told, with places for channel numbers.

    The data may be anybody's: raises `ValueError` for what is no recipe. Names, axes and places are
    only looked at by whoever evaluates it.
    """
    made = KINDS.get(str(data[0])) if isinstance(data, list) and data else None
    if made is None:
        raise ValueError("a recipe of an unknown kind")
    if made is Slope:
        _, node, axis, size, parts = _exactly(5, data)
        return Slope(node, axis, size, [_part(p) for p in parts])
    if made is Same:
        _, recipes = _exactly(2, data)
        return Same([from_data(each) for each in _exactly(len(recipes), recipes)])
    count = len(fields(made)) + 1  # type: ignore[arg-type]  # every kind is a dataclass
    return made(*map(_read, _exactly(count, data)[1:]))


def take(recipe: Recipe | None, index: Sequence[Numbers | None]) -> Recipe | None:
    """`recipe` at one index per axis; two takes in a row become one."""
    if not isinstance(recipe, Take):
        return None if recipe is None else Take(recipe, tuple(index))
    joined = tuple(
        old if new is None else new if old is None else tuple(old[i] for i in new)
        for old, new in zip(recipe.index, index, strict=True)
    )
    return Take(recipe.of, joined)


def same(first: Recipe | None, second: Recipe | None) -> Recipe | None:
    """The recipe of a constant that stands for two."""
    if first is None or second is None or first == second:
        return first if second is None else second
    parts = [r.of if isinstance(r, Same) else (r,) for r in (first, second)]
    return Same(tuple(dict.fromkeys((*parts[0], *parts[1]))))


def over(kind: type[Recipe], *parts: Any) -> Recipe | None:
    """kind(*parts), or None where one of the recipes among them is missing."""
    return None if any(p is MISSING for p in parts) else kind(*parts)


MISSING = object()


def required(recipe: Recipe | None) -> Any:
    """The recipe, or a mark for `over` that there is none."""
    return MISSING if recipe is None else recipe


def _placed(value: Any, place: Place) -> Any:
    """Lists of channel numbers, however deep, as the places where they stand."""
    if value is None:
        return None
    if value and not isinstance(value[0], int):
        return [_placed(v, place) for v in value]
    return place(value)


def _told(value: Any, place: Place) -> Any:
    if isinstance(value, (tuple, list)):
        return [_told(v, place) for v in value]
    return value.to_data(place) if isinstance(value, _Data) else value


def _read(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], str):
        return from_data(value)
    return value


def _part(data: Any) -> Part:
    at, channels, sources, source, picks, equal = _exactly(6, data)
    twins = [Twin(*_exactly(3, twin)) for twin in equal]
    return Part(at, channels, sources, source, picks, twins)


def _exactly(count: int, data: Any) -> list[Any]:
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"a recipe with a part that is no list of {count}")
    return data
