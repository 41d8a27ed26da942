"""At which image sizes networks are compared: as small as shows the same, and at twice that."""

from __future__ import annotations

from dataclasses import dataclass, field

from igc.analysis.cost import cost
from igc.program import Program
from igc.program.shapes import shapes

BUDGET = 2_000_000_000  # MACs per picture: a comparison makes about ten runs, half in float64
HEAVY = 50_000_000_000  # MACs per picture, from where one set of inputs has to do
SMALLEST = 32  # an image size below would leave deep strides a single pixel
TINY = 8  # the smallest for the many draws that need no more than to run


@dataclass(frozen=True)
class Sizes:
    """The image sizes of the main draws and of the one at another size; a note where cut.

    `macs` are those of one picture at the main sizes. `tiny` are the sizes of draws that need no
    large image, `twice` twice the main ones, empty where the network does not take those.
    """

    main: dict[str, int]
    other: dict[str, int]
    note: str = ""
    macs: int = 0
    tiny: dict[str, int] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)


def image_sizes(
    program: Program, batch: str | None, full: bool, budget: int | None = None
) -> Sizes:
    """The sizes for a network: its example's, or a half, a quarter .. where that costs too much.

    The other sizes are odd and unequal, about half the main ones, where the network takes those,
    which is tried on meta tensors; else half the main ones, or twice. `full` keeps the example's
    size as the main one; `budget` is in MACs per picture. Both sizes are empty where no image size
    is dynamic.
    """
    images = {k: v for k, v in program.sizes.items() if k != batch}
    macs = cost(program).macs
    if not images:
        return Sizes({}, {}, macs=macs)
    taken = [images]
    while (half := _half(taken[-1])) and _runs(program, half):
        taken.append(half)
    main = 0
    while not full and macs > (budget or BUDGET) and main + 1 < len(taken):
        main, macs = main + 1, macs // 4
    doubled = {k: 2 * v for k, v in taken[main].items()}
    other = taken[main + 1] if main + 1 < len(taken) else doubled
    odd = _odd(other if other is not doubled else taken[main])
    other = odd if _runs(program, odd) else other
    note = ""
    if main:
        note = (
            f"run at {_text(taken[main])} and {_text(other)}, not the example's {_text(images)}, "
            "which takes long (full size: full=True, --full-size)"
        )
    tiny, twice = _tiny(program, taken[-1]), doubled if _runs(program, doubled) else {}
    return Sizes(taken[main], other, note, macs, tiny, twice)


def _tiny(program: Program, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes halved down to `TINY`, as far as the network takes that; odd and unequal ones."""
    while (half := _half(sizes, TINY)) and _runs(program, half):
        sizes = half
    odd = _odd(sizes)
    return odd if _runs(program, odd) else sizes


def _odd(sizes: dict[str, int]) -> dict[str, int]:
    """Sizes a little larger: odd, and no two of them the same."""
    return {k: v + 1 + v % 2 + 2 * i for i, (k, v) in enumerate(sizes.items())}


def _half(sizes: dict[str, int], least: int = SMALLEST) -> dict[str, int]:
    """Every size halved; empty where one is odd or would be less than `least`."""
    fits = all(v % 2 == 0 and v >= 2 * least for v in sizes.values())
    return {k: v // 2 for k, v in sizes.items()} if fits else {}


def _runs(program: Program, images: dict[str, int]) -> bool:
    try:
        shapes(program, {**program.sizes, **images})
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    return True


def _text(sizes: dict[str, int]) -> str:
    return "x".join(map(str, sizes.values()))
