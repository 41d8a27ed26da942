"""A network that torch runs, as one side of a verification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from igc.capture.running import DoesNotRun, difference
from igc.errors import BadInput, IgcError, Refused, one_line
from igc.onnx_files.approximations import Approximated
from igc.program import Program
from igc.program.decisions import decided, settled
from igc.program.devices import beside, device_of, placed
from igc.program.digest import digest
from igc.program.dtypes import cast_to
from igc.program.execute import execute
from igc.program.fixed import fixed_axes
from igc.program.health import finite_notes
from igc.program.returned import tensors_of
from igc.program.trusting import has_trusting
from igc.verification.bounds import largest
from igc.verification.channels import Axis, channel_axis
from igc.verification.diverge import first_difference
from igc.verification.idle import idle, watch
from igc.verification.inputs import Draw, Signature, of_program
from igc.verification.side import Exact, Memo, Outputs, Side


@dataclass
class TorchSide(Side):
    """A network that torch runs, in any precision. `module` is None for a bare program.

    `program` is what a float64 run and the search for a first difference read. `captured` tells
    that torch made it of the module: it is held against the module on every draw. `changed` tells
    that its constants are not those that were compiled (fine-tuned, for example). `memo` is as
    `Exact` has it.
    """

    label: str
    program: Program
    module: nn.Module | None = None
    changed: bool = False
    captured: bool = False
    memo: Memo | None = None
    _decided: Program | None = None
    _watched: Memo = field(default_factory=dict)
    _signatures: dict[bool, Signature] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        """torch."""
        return "torch"

    @property
    def exact(self) -> Exact:
        """Itself."""
        return self

    @property
    def ways(self) -> tuple[str, ...]:
        """One: in its own precision."""
        return (f"{str(self.dtype).removeprefix('torch.')} in torch",)

    def signature(self, full: bool = False) -> Signature:
        """That of its program."""
        if full not in self._signatures:
            self._signatures[full] = of_program(self.program, full)
        return self._signatures[full]

    def channel_axes(self) -> list[Axis]:
        """As its outputs' shapes at the sizes it is run at tell."""
        found = self.signature()
        doubled = {k: 2 * v for k, v in found.sizes.items() if k != found.batch}
        points = [found.sizes, found.sizes | (found.other or doubled)]
        shapes = [_shapes(self.program, self.program.sizes | sizes) for sizes in points]
        return [channel_axis(each) for each in zip(*shapes, strict=True)]

    def run(self, way: str, names: Sequence[str], draw: Draw) -> Outputs:
        """As `own`."""
        return self.own(draw.tensors)

    def notes(self) -> list[str]:
        """Which of its tensors hold NaN or infinity, and which sizes it does not take, and why."""
        return finite_notes(self.program) + list(map(str, fixed_axes(self.program)))

    def idle(self) -> list[str]:
        """How many channels of its rectifiers never fired."""
        return idle(self._watched if self.memo is None else self.memo)

    def first_difference(
        self, reference: Exact, names: Sequence[str], inputs: Sequence[Tensor]
    ) -> str | None:
        """The first layer whose value in float64 is not the reference's."""
        rounded = self.changed or self.rounded
        return first_difference(reference.decided, self.decided, inputs, rounded=rounded)

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network is used in."""
        found = None if self.module is None else _one_dtype(self.module)
        return self.program.dtype if found is None else found

    @property
    def rounded(self) -> bool:
        """Whether constants that igc computed are stored in no more than the own precision."""
        program = self.program
        computed = any(origin.transform for origin in program.origins.values())
        return program.dtype != torch.float64 and computed and not program.kinds

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return self.program.outputs

    @property
    def decided(self) -> Program:
        """The program with the decisions that depend on constants taken in the own precision."""
        if self._decided is None:
            self._decided = decided(self.program)
        return self._decided

    def double(self, inputs: Sequence[Tensor], *, settle: bool = False) -> Outputs:
        """The outputs computed in float64, with the gates as decided in the own precision.

        `settle` takes all that depends on constants alone as the own precision computes it.
        """

        def run() -> Outputs:
            program = settled(self.program) if settle else self.decided
            self._require_captured(inputs)
            see = partial(watch, self._watched if self.memo is None else self.memo)
            with torch.no_grad():
                return _tensors(execute(program, inputs, dtype=torch.float64, visit=see))

        return self._once(("float64", settle), inputs, run)

    def _require_captured(self, inputs: Sequence[Tensor]) -> None:
        """Raises `BadInput` where the captured program is not the module: no bound would hold."""
        if not self.captured or self.module is None:
            return
        taken = beside(self.module, (cast_to(x, self.dtype) for x in inputs))
        program = placed(self.program, device_of(self.module))
        try:
            with evaluating(self.module):
                text = difference(self.module, program, taken)
        except DoesNotRun:
            return  # said where the module itself is run
        if text:
            sizes = ", ".join("x".join(map(str, x.shape)) for x in inputs)
            raise BadInput(
                f"the {self.label} was not captured as it is: on inputs of shape {sizes}, {text}; "
                "its forward does something that torch.export does not see"
            )

    def own(self, inputs: Sequence[Tensor]) -> Outputs:
        """The outputs as the network itself computes them."""
        if self.module is None:
            program = self.program
            given = [cast_to(x, spec.dtype) for x, spec in zip(inputs, program.inputs, strict=True)]
            with torch.no_grad():  # each part in the type that it has for itself
                return _tensors(execute(program, given))
        if has_trusting(self.program.graph):
            execute(self.program, [x.to("meta") for x in inputs], device="meta")
        with evaluating(self.module), torch.no_grad():
            result = self.module(*beside(self.module, (cast_to(x, self.dtype) for x in inputs)))
        return _tensors(tensors_of(result))

    def in_precision(self, inputs: Sequence[Tensor], dtype: torch.dtype) -> Outputs:
        """The outputs computed in `dtype`: by the network itself where that is its precision."""

        def run() -> Outputs:
            if dtype == self.dtype:
                return self.own(inputs)
            with torch.no_grad():
                return _tensors(execute(self.decided, inputs, dtype=dtype))

        return self._once(dtype, inputs, run)

    def approximated(
        self, inputs: Sequence[Tensor], dtype: torch.dtype, seed: int, *, sums: bool = False
    ) -> Outputs:
        """The outputs in `dtype`, functions as exact as onnxruntime's (`approximations`)."""

        def run() -> Outputs:
            with Approximated(seed, sums), torch.no_grad():
                if dtype == self.dtype:
                    return self.own(inputs)
                return _tensors(execute(self.decided, inputs, dtype=dtype))

        return self._once(("approximated", dtype, seed, sums), inputs, run)

    def require_deterministic(self, inputs: Sequence[Tensor]) -> None:
        """Raises `Refused` where two runs in evaluation mode differ (a stochastic gate, say)."""
        one, two = (self._seeded(inputs, seed) for seed in (1, 2))
        for name, a, b in zip(self.names, one, two, strict=True):
            gap = (a.double() - b.double()).abs().nan_to_num(0.0)
            room = 64 * torch.finfo(a.dtype).eps if a.dtype.is_floating_point else 0.0
            if float(gap.max() if gap.numel() else 0.0) > room * largest(a):
                raise Refused(
                    f"{self.label}: stochastic, two runs in evaluation mode differ in output "
                    f"'{name}'; make the gates deterministic in eval()"
                )
        self._once(self.dtype, inputs, lambda: one)  # where a memo is kept, it need not run again

    def _seeded(self, inputs: Sequence[Tensor], seed: int) -> Outputs:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return self.own(inputs)
            except IgcError:
                raise
            except Exception as error:  # torch raises many kinds
                raise BadInput(f"the {self.label} does not run: {one_line(error)}") from error

    def _once(self, kind: Any, inputs: Sequence[Tensor], run: Callable[[], Outputs]) -> Outputs:
        """What `run` returns, or what it returned for the same bytes where a memo is kept."""
        if self.memo is None:
            return run()
        key = (kind, *map(digest, inputs))
        if key not in self.memo:
            self.memo[key] = run()
        return self.memo[key]


def module_side(module: nn.Module, role: str, example: Sequence[Tensor] | None) -> TorchSide:
    """A module; its program is the one it carries, or captured with the `example` inputs.

    Raises `BadInput` where neither is there.
    """
    label = f"{role} {type(module).__name__}"
    program = getattr(module, "program", None)
    if not isinstance(program, Program):
        if example is None:
            raise BadInput(
                f"verify: give inputs, to know what the {label} takes, for example "
                "inputs=(torch.randn(2, 3, 224, 224),)"
            )
        from igc.capture import capture

        taken = tuple(cast_to(x, _one_dtype(module)) for x in example)
        return TorchSide(label, capture(module, taken), module, captured=True)
    current = getattr(module, "to_program", None)
    if current is not None:
        now = current()
        if not same_constants(now, program):
            return TorchSide(label, now, module, changed=True)
    return TorchSide(label, program, module)


def same_constants(now: Program, then: Program) -> bool:
    """Whether `now` holds the constants of `then`, rounded to its own precision."""
    if now.constants.keys() != then.constants.keys():
        return False
    return all(
        value.shape == then.constants[name].shape
        and torch.equal(value, then.constants[name].to(value.dtype))
        for name, value in now.constants.items()
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode for a while; every submodule is put back as it was."""
    training = [m for m in module.modules() if m.training]
    try:
        module.eval()
        yield
    finally:
        for m in training:
            m.training = True


def _one_dtype(module: nn.Module) -> torch.dtype | None:
    """The floating type of the module's tensors; None where there are several or none."""
    tensors = (*module.parameters(), *module.buffers())
    found = {t.dtype for t in tensors if t.dtype.is_floating_point}
    return found.pop() if len(found) == 1 else None


def _shapes(program: Program, sizes: dict[str, int]) -> list[tuple[int, ...]]:
    """The shapes of the outputs at these sizes, complex numbers as pairs."""
    inputs = [torch.empty(s.shape(sizes), dtype=s.dtype, device="meta") for s in program.inputs]
    values = [v for v in execute(program, inputs, device="meta") if isinstance(v, Tensor)]
    return [(*v.shape, 2) if v.is_complex() else tuple(v.shape) for v in values]


def _tensors(values: Sequence[Any]) -> Outputs:
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise BadInput(f"output {i} is a {type(value).__name__}; outputs must be tensors")
    return [(torch.view_as_real(v) if v.is_complex() else v).cpu() for v in values]
