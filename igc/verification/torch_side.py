"""The two sides of a verification, each made to run: a torch network, or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igc.errors import BadInput, IgcError, Refused, one_line
from igc.onnx_files.approximations import Approximated
from igc.program import Program
from igc.program.compilation import Compilation
from igc.program.decisions import decided, settled
from igc.program.devices import beside
from igc.program.digest import digest
from igc.program.dtypes import cast_to
from igc.program.execute import execute
from igc.verification.onnx_side import OnnxFile

Memo = dict[Any, list[Tensor]]  # what a reference computed, by precision and inputs
Network = nn.Module | Program | Compilation | str | PathLike[str]


@dataclass
class TorchSide:
    """A network that torch runs. `module` is None for a bare program.

    `program` is what a float64 run and the search for a first difference read. `changed` tells
    that its constants are not those that were compiled (fine-tuned, for example). `memo`, where
    given, keeps what was computed, for another comparison with the same network and inputs.
    """

    label: str
    program: Program
    module: nn.Module | None = None
    changed: bool = False
    memo: Memo | None = None
    _decided: Program | None = None

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

    def double(self, inputs: Sequence[Tensor], *, settle: bool = False) -> list[Tensor]:
        """The outputs computed in float64, with the gates as decided in the own precision.

        `settle` takes all that depends on constants alone as the own precision computes it.
        """

        def run() -> list[Tensor]:
            program = settled(self.program) if settle else self.decided
            with torch.no_grad():
                return _tensors(execute(program, inputs, dtype=torch.float64))

        return self._once(("float64", settle), inputs, run)

    def own(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as the network itself computes them."""
        if self.module is None:
            with torch.no_grad():
                return _tensors(execute(self.program, inputs, dtype=self.program.dtype))
        with evaluating(self.module), torch.no_grad():
            result = self.module(*beside(self.module, (cast_to(x, self.dtype) for x in inputs)))
        return _tensors([v for v in pytree.tree_leaves(result) if v is not None])

    def in_precision(self, inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """The outputs computed in `dtype`: by the network itself where that is its precision."""

        def run() -> list[Tensor]:
            if dtype == self.dtype:
                return self.own(inputs)
            with torch.no_grad():
                return _tensors(execute(self.decided, inputs, dtype=dtype))

        return self._once(dtype, inputs, run)

    def approximated(self, inputs: Sequence[Tensor], dtype: torch.dtype, seed: int) -> list[Tensor]:
        """The outputs in `dtype`, functions as exact as onnxruntime's (`approximations`)."""

        def run() -> list[Tensor]:
            with Approximated(seed), torch.no_grad():
                if dtype == self.dtype:
                    return self.own(inputs)
                return _tensors(execute(self.decided, inputs, dtype=dtype))

        return self._once(("approximated", dtype, seed), inputs, run)

    def keep(self, inputs: Sequence[Tensor], outputs: list[Tensor]) -> None:
        """Notes, where a memo is kept, what `own` returned for these inputs."""
        self._once(self.dtype, inputs, lambda: outputs)

    def _once(
        self, kind: Any, inputs: Sequence[Tensor], run: Callable[[], list[Tensor]]
    ) -> list[Tensor]:
        """What `run` returns, or what it returned for the same bytes where a memo is kept."""
        if self.memo is None:
            return run()
        key = (kind, *map(digest, inputs))
        if key not in self.memo:
            self.memo[key] = run()
        return self.memo[key]


Side = TorchSide | OnnxFile


def path_side(path: str | PathLike[str], role: str) -> Side:
    """The network in a file: ONNX by its suffix, what igc.save wrote otherwise."""
    name = fspath(path)
    if name.lower().endswith(".onnx"):
        return OnnxFile(name)
    from igc.checkpoint import load_program

    return TorchSide(f"{role} {name}", load_program(name))


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
        return TorchSide(label, capture(module, taken), module)
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


def require_deterministic(side: TorchSide, inputs: Sequence[Tensor]) -> None:
    """Raises `Refused` where two runs in evaluation mode differ (a stochastic gate, say)."""
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                results.append(side.own(inputs))
            except IgcError:
                raise
            except Exception as error:  # torch raises many kinds
                raise BadInput(f"the {side.label} does not run: {one_line(error)}") from error
    for name, a, b in zip(side.names, *results, strict=True):
        gap = (a.double() - b.double()).abs().nan_to_num(0.0)
        room = 64 * torch.finfo(a.dtype).eps if a.dtype.is_floating_point else 0.0
        if float(gap.max() if gap.numel() else 0.0) > room * _finite_max(a):
            raise Refused(
                f"{side.label}: stochastic, two runs in evaluation mode differ in output '{name}'; "
                "make the gates deterministic in eval()"
            )
    side.keep(inputs, results[0])


def _finite_max(value: Tensor) -> float:
    finite = value.double().abs()
    finite = finite[finite.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


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


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise BadInput(f"output {i} is a {type(value).__name__}; outputs must be tensors")
    return [(torch.view_as_real(v) if v.is_complex() else v).cpu() for v in values]
