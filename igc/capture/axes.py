"""Which axes of the inputs are dynamic: those for which the captured graph is shown to hold.

torch.export goes on as the example answers what a network's Python asks of its sizes. So the graph
is tried at other sizes against the module itself: where they differ, the axes that were asked about
become fixed, and the network is captured again, until nothing differs. An axis that is fixed keeps
the size it has in the example; the program's note says which line fixed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from igc.capture.export import Exported, exported
from igc.capture.layout import repeated
from igc.capture.running import DoesNotRun, difference, require_inputs_fit, unchanged
from igc.capture.squeezes import AsksForSize
from igc.capture.symbols import Axis
from igc.capture.trials import Asked, Point, Trial, at_sizes, trials
from igc.errors import BadInput, IgcError, Refused, one_line
from igc.nn.wrappers import check_modules
from igc.program import Program
from igc.program.devices import beside, on_cpu
from igc.program.dtypes import without_autocast
from igc.program.fixed import with_fixed
from igc.program.shapes import other_sizes, shapes, single

Example = Tensor | Sequence[Tensor]


def as_inputs(example_inputs: Any) -> tuple[Tensor, ...]:
    """The example inputs as a tuple of tensors; raises `BadInput` for anything else."""
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    if not isinstance(inputs, (tuple, list)) or not inputs:
        raise BadInput(
            "example_inputs: give one tensor or a tuple of tensors, "
            f"got {type(example_inputs).__name__}"
        )
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise BadInput(f"example_inputs[{i}]: expected a tensor, got {type(tensor).__name__}")
    return tuple(inputs)


@without_autocast()
def capture(module: nn.Module, example_inputs: Example) -> Program:
    """The program that `module` runs in evaluation mode on inputs like `example_inputs`.

    The batch (the first dim of every input) is dynamic where the program is shown to hold for
    others, and so are the height and width of image-like inputs; others have the example's size.
    Parameters are shared with the module, not copied (unless it is on another device: programs are
    on the CPU); the module itself is left as it was. Raises `BadInput` where torch cannot export
    the module, and where what it exports computes something else than the module.
    """
    inputs = beside(module, as_inputs(example_inputs))
    with unchanged(module):
        module.eval()
        try:
            return on_cpu(_capture(module, inputs))
        except BadInput:  # what says which module it is comes first
            check_modules(module, type(module).__name__, "compile")
            raise


def _capture(module: nn.Module, inputs: tuple[Tensor, ...]) -> Program:
    last: Exception = BadInput("no attempt")
    first, *rest = attempts = _attempts(inputs)
    why: dict[Axis, str] = {}
    asks: Refused | None = None
    for number, axes in enumerate((first, *rest)):
        try:
            return _Capture(module, inputs, set(axes), dict(why)).program()
        except IgcError:
            raise
        except Exception as error:  # torch.export raises many kinds; the last is reported
            last = error
            if axes is first:
                try:
                    require_inputs_fit(module, inputs)
                except Refused as refused:  # it asks for a value, which need not be the reason
                    asks = refused
            for axis in axes.difference(*attempts[number + 1 :][:1]):
                why.setdefault(axis, f"torch.export cannot keep it open ({one_line(error, 120)})")
    raise asks or BadInput(
        f"{type(module).__name__}: torch.export cannot capture it: {one_line(last)}"
    ) from last


def _attempts(inputs: tuple[Tensor, ...]) -> list[frozenset[Axis]]:
    """Which axes to try as dynamic, most ambitious first."""
    batch = frozenset((i, 0) for i, x in enumerate(inputs) if x.ndim)
    images = frozenset(
        (i, a) for i, x in enumerate(inputs) if x.ndim >= 4 for a in range(2, x.ndim)
    )
    return list(dict.fromkeys((batch | images, batch, frozenset[Axis]())))


@dataclass
class _Capture:
    """One search: the axes that may still be dynamic, and why others may not."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    axes: set[Axis]
    why: dict[Axis, str]
    apart: set[Axis] = field(default_factory=set)  # twice their size, to be told from their twins

    def program(self) -> Program:
        """The program whose dynamic axes are shown; raises what torch does."""
        while True:
            try:
                found = self._exported()
            except AsksForSize as error:
                self.axes -= error.axes
                self.why |= dict.fromkeys(error.axes, error.why)
                continue
            twins = self._twins(found) - self.apart
            if twins and self._takes_apart(found, twins):
                self.apart |= twins
                continue
            stale = self._take_what_torch_fixed(found) or self._refuted(found)
            if not stale:
                return self._noted(found.program)

    def _exported(self) -> Exported:
        """Exported, and its shapes shown to hold at other sizes.

        At another batch where the first misled torch, which takes sizes that agree in the example
        for the same: half a height of 6 for a batch of 2. At a batch of one they differ.
        """
        last: Exception | None = None
        for batch in (2, 7):
            given = tuple(self._wide(i, x, batch) for i, x in enumerate(self.inputs))
            per_input = [{a for n, a in self.axes if n == i} for i in range(len(self.inputs))]
            for found in exported(self.module, given, per_input):
                program = found.program
                try:
                    if program.sizes:
                        shapes(program, other_sizes(program))
                        shapes(program, single(program))
                    return found
                except RuntimeError as error:
                    last = error
            if not any(axis == 0 for _, axis in self.axes):
                break
        assert last is not None
        raise last

    def _wide(self, number: int, x: Tensor, batch: int) -> Tensor:
        """An input with more than one row, where rows may be more: torch takes 1 for a constant."""
        rows = batch if (number, 0) in self.axes and (x.shape[0] == 1 or batch > 2) else 1
        times = [2 if (number, axis) in self.apart else 1 for axis in range(x.ndim)]
        found = repeated(x, rows)
        return found.repeat(*times) if max(times, default=1) > 1 else found

    def _example(self, program: Program) -> Point:
        """The dynamic sizes as the example has them."""
        return {
            dim: size
            for spec, x in zip(program.inputs, self.inputs, strict=True)
            for dim, size in zip(spec.dims, x.shape, strict=True)
            if isinstance(dim, str)
        }

    def _twins(self, found: Exported) -> set[Axis]:
        """Axes of an input that torch takes to be as long as an earlier one of the same input."""
        return {
            (number, axis)
            for number, spec in enumerate(found.program.inputs)
            for axis, dim in enumerate(spec.dims)
            if isinstance(dim, str) and dim in spec.dims[:axis]
        }

    def _takes_apart(self, found: Exported, twins: set[Axis]) -> bool:
        """Whether the module runs where these axes are twice as long as their twins."""
        given = tuple(
            x.repeat(*(2 if (i, axis) in twins else 1 for axis in range(x.ndim)))
            for i, x in enumerate(self.inputs)
        )
        try:
            difference(self.module, found.program, given)
        except DoesNotRun:
            return False
        return True

    def _take_what_torch_fixed(self, found: Exported) -> bool:
        """Drops axes that torch made fixed; whether at another size than the example's."""
        stale = False
        for number, axis in sorted(self.axes):
            size = found.program.inputs[number].dims[axis]
            if isinstance(size, int):
                self.axes.discard((number, axis))
                self.why[number, axis] = _who_fixed(found, (number, axis))
                self.apart.discard((number, axis))
                stale |= size != self.inputs[number].shape[axis]
        return stale

    def _refuted(self, found: Exported) -> bool:
        """Whether sizes were found for which the program is wrong; their axes are dropped.

        Raises `BadInput` where it is wrong for the example itself.
        """
        program = found.program
        dims = [spec.dims for spec in program.inputs]
        if not self._at_the_example(found):
            return True
        for trial in trials(_asked(found)):
            for sizes in (trial.sizes, *trial.instead):
                try:
                    text = self._difference(program, dims, sizes)
                except DoesNotRun:
                    continue
                if text:
                    self._blame(found, replace(trial, sizes=sizes), text)
                    return True
                break
        return False

    def _at_the_example(self, found: Exported) -> bool:
        program, own = found.program, self._example(found.program)
        fits = all(
            isinstance(dim, str) or dim == size
            for spec, x in zip(program.inputs, self.inputs, strict=True)
            for dim, size in zip(spec.dims, x.shape, strict=True)
        )
        try:
            text = difference(self.module, program, self.inputs) if fits else ""
        except DoesNotRun as error:
            shapes_ = ", ".join(str(tuple(x.shape)) for x in self.inputs)
            raise BadInput(
                f"{type(self.module).__name__} does not accept inputs of shape {shapes_}: {error}"
            ) from error
        if not text:
            return True
        if own == program.sizes:
            raise BadInput(
                f"{type(self.module).__name__}: what torch.export captures is not what it computes "
                f"on the example inputs: {text}; does its forward ask whether it is being traced "
                "or compiled, or depend on what an earlier run left?"
            )
        asked = _asked(found)
        self._blame(found, Trial(own, _other_answers(asked, own)), text)
        return False

    def _difference(self, program: Program, dims: Sequence[Any], sizes: Point) -> str:
        return difference(self.module, program, at_sizes(self.inputs, dims, sizes))

    def _blame(self, found: Exported, trial: Trial, text: str) -> None:
        """Drops the axes whose size makes the difference: those asked about, one if that does."""
        asked = _asked(found)
        changed = [n for n, size in trial.sizes.items() if size != asked.example[n]]
        named = {symbol for q in trial.otherwise for symbol in q.expression.free_symbols}
        inquired = [n for n in changed if named.intersection(asked.symbols[n])]
        blamed = inquired or changed or list(trial.sizes)
        if len(blamed) > 1:
            blamed = self._fewest(found, trial, blamed)
        sizes = ", ".join(f"{n} {trial.sizes[n]}" for n in blamed)
        for number, spec in enumerate(found.program.inputs):
            for axis, dim in enumerate(spec.dims):
                if dim in blamed:
                    lines = _lines(trial.otherwise, found.symbols[number, axis])
                    self.axes.discard((number, axis))
                    self.apart.discard((number, axis))
                    self.why[number, axis] = lines or f"at {sizes}, {text}"

    def _fewest(self, found: Exported, trial: Trial, names: list[str]) -> list[str]:
        """One of the sizes that makes a difference alone, or those that do together."""
        for name in names:
            if self._differs(found, trial, [name]):
                return [name]
        for name in names:
            fewer = [n for n in names if n != name]
            if fewer and self._differs(found, trial, fewer):
                names = fewer
        return names

    def _differs(self, found: Exported, trial: Trial, names: Iterable[str]) -> bool:
        """Whether these sizes make a difference, others being the example's."""
        program = found.program
        sizes = {**program.sizes, **{name: trial.sizes[name] for name in names}}
        try:
            return bool(self._difference(program, [s.dims for s in program.inputs], sizes))
        except DoesNotRun:
            return False

    def _noted(self, program: Program) -> Program:
        """With the sizes of the example, its batch at least two, and what fixed the others."""
        example = self._example(program)
        batches = {dim for spec in program.inputs for dim in spec.dims[:1]}
        sizes = {k: max(2, n) if k in batches else n for k, n in example.items()}
        program = replace(program, sizes=sizes)
        names = [spec.name for spec in program.inputs]
        return with_fixed(program, {(names[i], a): text for (i, a), text in self.why.items()})


def _asked(found: Exported) -> Asked:
    program = found.program
    symbols: dict[str, tuple[Any, ...]] = {}
    for number, spec in enumerate(program.inputs):
        for axis, dim in enumerate(spec.dims):
            if isinstance(dim, str):
                symbols[dim] = (*symbols.get(dim, ()), *found.symbols[number, axis])
    batches = {d for spec in program.inputs for d in spec.dims[:1] if isinstance(d, str)}
    known = {s for own in symbols.values() for s in own}
    return Asked(
        dict(program.sizes),
        frozenset(batches),
        tuple(q for q in found.questions if q.open and q.expression.free_symbols <= known),
        symbols,
    )


def _other_answers(asked: Asked, sizes: Point) -> tuple[Any, ...]:
    by_symbol = {s: n for name, n in sizes.items() for s in asked.symbols[name]}
    return tuple(q for q in asked.questions if not q.answered(by_symbol))


def _who_fixed(found: Exported, axis: Axis) -> str:
    return _lines(found.questions, found.symbols.get(axis, ())) or "torch.export needs its size"


def _lines(asked: Iterable[Any], symbols: Sequence[Any]) -> str:
    """The first line that asked about these symbols; empty for none."""
    return next((q.line for q in asked if any(s in q.expression.free_symbols for s in symbols)), "")
