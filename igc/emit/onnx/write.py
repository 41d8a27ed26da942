"""A static network as an ONNX file: written, checked, simplified, dressed with provenance.

Nodes are written directly (`igc.emit.onnx.lower`), which is many times faster than
`torch.onnx.export` and leaves names and bytes under igc's control. A network with an op that has
no direct form goes through `torch.onnx.export`, and the file says so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from igc.emit.onnx.by_torch import export_by_torch
from igc.emit.onnx.every_size import check_every_size
from igc.emit.onnx.lower import Unsupported
from igc.emit.onnx.metadata import dress
from igc.emit.onnx.model import OPSET, OnnxModel, direct, parted
from igc.emit.onnx.simplify import simplified
from igc.emit.torch.static import StaticNetwork, runnable
from igc.errors import BadInput, CheckFailed, LintError, one_line
from igc.program import Program
from igc.program.returned import constants_of

LIMIT = 2**31 - 2**20  # protobuf holds less than 2 GiB in one message

Judge = Callable[[Path], None]
Verification = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class OnnxInfo:
    """What was written. `route` is "direct" or "torch.onnx.export" (then `reason` says why, and
    how long that took).

    `simplified` tells whether onnxsim's version was kept. Sizes are in bytes. `left_out` are the
    constants that the network returns beside its tensors, which ONNX does not hold, by name.
    """

    path: str
    nodes: int
    size: int
    initialiser_size: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    simplified: bool
    route: str
    reason: str
    left_out: Mapping[str, Any] = field(default_factory=dict)


def write_onnx(
    static: StaticNetwork,
    path: Path,
    *,
    judge: Judge,
    simplify: bool = True,
    verification: Verification | None = None,
) -> OnnxInfo:
    """Writes `static` to `path` as ONNX (opset 20), in place: it should be a temporary file.

    The batch, and height and width where the network takes any, stay dynamic. Outputs carry the
    names `static.outputs`, in that order; the file passes the full checker and strict shape
    inference. What it computes is for `judge` to say, who raises for a wrong file: onnxsim's
    version is dropped then, and igc's own one tried. `verification` is stored in the metadata of
    the file so chosen: a mapping, or a function of that file, which may raise, too. The same
    network and igc version give the same bytes. A network in bfloat16 is written in float32, which
    onnxruntime can run.

    Raises `BadInput` (no ONNX form, 2 GiB or more), `CheckFailed`, and what `judge` raises.
    """
    options = _options(static)
    static = runnable(static)
    program = static.to_program()
    _check_size(program)
    names = _input_names(program)
    route, reason = "direct", ""
    try:
        model = direct(program, names)
    except Unsupported as unsupported:
        route, reason, began = "torch.onnx.export", str(unsupported), time.monotonic()
        model = parted(export_by_torch(static, program, names, reason, OPSET))
        reason = f"{reason}; by torch.onnx.export in {time.monotonic() - began:.1f} s"
    draft = _Draft(program, names, judge, options)
    size = draft.write(model, path)
    if reason:
        check_every_size(program, path, names, reason)
    simpler = draft.simpler(model, path) if simplify else None
    if simpler is None:
        judge(path)
    else:
        model, size = simpler
    told = verification(path) if callable(verification) else verification
    if told is not None:
        draft.dress(model, simplified=simpler is not None, verification=told)
        size = model.write(path)
    return OnnxInfo(
        path=str(path),
        nodes=model.nodes,
        size=size,
        initialiser_size=model.weight,
        inputs=names,
        outputs=program.outputs,
        simplified=simpler is not None,
        route=route,
        reason=reason,
        left_out=constants_of(program.out_spec),
    )


def _options(static: StaticNetwork) -> dict[str, Any]:
    """How it was compiled, and the type it was converted to since; empty where igc did not."""
    source, dtype = static.compiled_from, static.to_program().dtype
    if source is None:
        return {}
    converted = None if dtype == source.dtype else str(dtype).removeprefix("torch.")
    return {**source.options, "converted": converted}


def _check_size(program: Program) -> None:
    total = sum(t.numel() * t.element_size() for t in program.constants.values())
    if total > LIMIT:
        raise BadInput(
            f"the network holds {total / 2**30:.1f} GiB of parameters, an ONNX file holds less "
            "than 2 GiB; export it in half precision: igc.export_onnx(static.half(), path)"
        )


def _input_names(program: Program) -> tuple[str, ...]:
    """The inputs' own names, changed only where an output has the same one."""
    taken = set(program.outputs)
    if len(taken) != len(program.outputs):
        raise LintError(f"two outputs have the same name: {', '.join(program.outputs)}")
    names: list[str] = []
    for spec in program.inputs:
        name = spec.name
        while name in taken:
            name += "_in"
        taken.add(name)
        names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class _Draft:
    """What a file is held to before it is handed on; `names` are those of its inputs.

    `options` are what it tells of how it was made, see `_options`.
    """

    program: Program
    names: tuple[str, ...]
    judge: Judge
    options: Mapping[str, Any]

    def dress(
        self, model: OnnxModel, *, simplified: bool, verification: Mapping[str, Any] | None = None
    ) -> None:
        """Lets the model say what it is, how it was made, and how it was verified."""
        extra: dict[str, Any] = {}
        if self.options:
            extra["igc.options"] = {**self.options, "simplified": simplified}
        if verification is not None:
            extra["igc.verification"] = verification
        dress(model.proto, self.program, self.names, extra)

    def write(self, model: OnnxModel, path: Path, *, simplified: bool = False) -> int:
        """Writes the model, dressed; `CheckFailed` unless it is valid ONNX with these outputs.

        The full checker includes strict shape and type inference. Returns the size in bytes.
        """
        self.dress(model, simplified=simplified)
        written = tuple(o.name for o in model.proto.graph.output)
        if written != self.program.outputs:
            raise CheckFailed(f"the ONNX outputs are {written}, expected {self.program.outputs}")
        size = model.write(path)
        with _refusing("the ONNX file is not valid"):
            onnx.checker.check_model(str(path), full_check=True)
        return size

    def simpler(self, model: OnnxModel, path: Path) -> tuple[OnnxModel, int] | None:
        """onnxsim's version and its size, put at `path` where it is smaller and passes, or None."""
        trial = path.with_name(f"simpler-{path.name}")
        try:
            found = simplified(model)
            if found is None:
                return None
            size = self.write(found, trial, simplified=True)
            self.judge(trial)
            trial.replace(path)
            return found, size
        except Exception:  # whatever goes wrong in a foreign tool, the file at hand is the answer
            return None
        finally:
            trial.unlink(missing_ok=True)


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turns whatever the block raises into one line of `CheckFailed`."""
    try:
        yield
    except Exception as error:  # checker and protobuf raise kinds of their own
        line = one_line(error)
        raise CheckFailed(f"{what}: {line}") from error
