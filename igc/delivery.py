"""Delivery: compile, prove, write, sign, report; every file or none.

igc.deliver("gated.pt", "model.onnx", report="cost.html")      # what `igc compile` does
igc.export_onnx(static, "model.onnx")                          # write and sign alone
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from igc.capture import Example
from igc.certificate import manifest_path
from igc.certificate.company import listed
from igc.certificate.manifest import hashes, seal
from igc.certificate.write import certify
from igc.checkpoint import load, save
from igc.checkpoint.archive import regular_file
from igc.compiler import compilation
from igc.emit import OnnxInfo, StaticNetwork, write_onnx, write_source
from igc.emit.onnx.write import Verification
from igc.emit.torch.source import CODE, WEIGHTS
from igc.errors import BadInput, CheckFailed
from igc.files import check_writable, together
from igc.passes import After
from igc.reports.build import report as cost_report
from igc.reports.delivered import Delivery, Targets, require_source_folder
from igc.reports.model import Report
from igc.reports.writers import format_of
from igc.verification.agreement import Agreement
from igc.verification.proof import Proof

Place = str | os.PathLike[str]


def deliver(
    network: nn.Module | Place,
    onnx: Place,
    example_inputs: Example | None = None,
    *,
    tasks: Sequence[str] | None = None,
    torch: Place | None = None,
    source: Place | None = None,
    report: Place | None = None,
    verify: bool = True,
    split_groups: bool = False,
    full_size: bool = False,
    checkpoint: Place | None = None,
    after: After | None = None,
    stop_after: str | None = None,
) -> Delivery:
    """Compiles a network, proves the result, and writes it as ONNX with its manifest beside it.

    `network`, `example_inputs`, `tasks` and `split_groups` are as in `igc.compile`. `checkpoint`
    names the file that the weights of a module were read from, for the manifest and the report.
    Also written where asked for: the static network for `igc.load` (`torch`, a file), PyTorch code
    that does without igc (`source`, a folder), the cost report (`report`, as its suffix says).

    Two things are proven: that the static network is the same function, and that the ONNX file is;
    `full_size` does so at the example's image size, however long it takes. Without `verify` the
    file is held to the static network alone. `after` and `stop_after` are as in
    `igc.compiler.compilation`.

    Every file is written, or none: whatever fails, older files stay as they were. Networks that
    differ raise nothing: see `Delivery.passed` and `Delivery.failure`. Raises `BadInput` for
    arguments, networks and places that igc cannot take, and `CheckFailed` for a file that is not
    valid ONNX or does not run.
    """
    targets = _targets(onnx=onnx, torch=torch, source=source, report=report)
    started = time.perf_counter()
    given = _given(network, checkpoint)
    made = compilation(
        given.network, example_inputs, tasks, split_groups=split_groups,
        after=after, stop_after=stop_after,
    )  # fmt: skip
    static, record = made.static, made.record
    proof = Proof(given.network, given.label, tasks, full_size)
    model = costs = None
    with contextlib.suppress(_Disproved):
        if verify and not proof.of("static", made, "the static network"):
            raise _Disproved
        del made  # its program holds folded weights in float64
        model, costs = _write(given, targets, static, proof if verify else None)
    seconds = round(time.perf_counter() - started, 3)
    return Delivery(given.label, targets, static, record, proof.checks, seconds, model, costs)


class _Disproved(Exception):
    """The two networks differ: nothing may be written."""


def _write(
    given: _Given, targets: Targets, static: StaticNetwork, proof: Proof | None
) -> tuple[OnnxInfo, Report]:
    """Writes every target, or none; raises `_Disproved` where the ONNX file is proven wrong."""
    with together() as place:
        model = place.file(targets.onnx)
        info = write_onnx(
            static,
            model,
            judge=Agreement(static) if proof is None else _judge(proof, str(targets.onnx)),
            verification=None if proof is None else lambda _: proof.ways(),
        )
        compared = None if proof is None else proof.compared()
        manifest = place.file(manifest_path(targets.onnx))
        files, written = [model], []
        if targets.torch is not None:
            files.append(place.file(targets.torch))
            save(static, files[-1])
            written.append((targets.torch, files[-1]))
        with _sealed(model):  # the report tells the size that it will have
            costs = given.report(static, files, references=targets.report is not None)
        if targets.report is not None:
            text = costs.text(format_of(targets.report))
            written.append((targets.report, place.file(targets.report)))
            written[-1][1].write_text(text, encoding="utf-8")
        if targets.source is not None:
            made = place.files_in(targets.source, (CODE, WEIGHTS))
            write_source(static, *made)
            written += [(targets.source / file.name, file) for file in made]
        certify(
            static, model, manifest, given.hashes(static), compared, listed(targets.onnx, written)
        )
        info = replace(info, path=str(targets.onnx), size=model.stat().st_size)
    return info, costs


@contextlib.contextmanager
def _sealed(model: Path) -> Iterator[None]:
    """The file as large as it is with its seal, for a while."""
    size = model.stat().st_size
    os.truncate(model, size + len(seal(b"")))
    try:
        yield
    finally:
        os.truncate(model, size)


def _judge(proof: Proof, label: str) -> Callable[[Path], None]:
    """The judge of ONNX files that holds them to the gated network itself."""

    def judge(file: Path) -> None:
        check = proof.of("onnx", file, label)  # `file` is a temporary one
        if check.unrun and not check.outputs:
            raise CheckFailed(f"onnxruntime cannot run the ONNX file: {check.unrun[0].reason}")
        if not check:
            raise _Disproved

    return judge


@dataclass(frozen=True)
class _Given:
    """The network to deliver, what to call it, and the file that it was read from."""

    network: nn.Module
    label: str
    checkpoint: Path | None

    def hashes(self, static: StaticNetwork) -> dict[str, str]:
        """The hashes of all that the manifest may name."""
        read = {} if static.compiled_from is None else dict(static.compiled_from.hashes)
        return read if self.checkpoint is None else read | hashes(self.checkpoint, self.network)

    def report(self, static: StaticNetwork, files: list[Path], *, references: bool) -> Report:
        """What it costs against its static network, which is in these files."""
        own: dict[str, Path] = {} if self.checkpoint is None else {"gated": self.checkpoint}
        made = cost_report(
            self.network, static, files={**own, "static": files}, references=references
        )
        return replace(made, network=Path(self.label).name)


def _given(network: nn.Module | Place, checkpoint: Place | None) -> _Given:
    if isinstance(network, nn.Module):
        file = None if checkpoint is None else regular_file(_path("checkpoint", checkpoint))
        return _Given(network, str(file or type(network).__name__), file)
    if checkpoint is not None:
        raise BadInput("igc.deliver: a path names its own checkpoint; leave out checkpoint")
    file = _path("network", network)
    return _Given(load(file), str(file), file)


def _targets(**places: Place | None) -> Targets:
    found = {name: _path(name, place) for name, place in places.items() if place is not None}
    if "onnx" not in found:
        raise BadInput("igc.deliver: give onnx, the path of the ONNX file to write")
    targets = Targets(**found)
    wrong = targets.wrong({name: name for name in targets.named()})
    if wrong:
        raise BadInput(f"igc.deliver: {wrong}")
    targets.require_writable()
    return targets


def _path(name: str, place: object) -> Path:
    if not isinstance(place, (str, os.PathLike)):
        raise BadInput(f"igc.deliver: {name} is a {type(place).__name__}; give a path")
    return Path(place)


def export_onnx(
    static: StaticNetwork,
    path: Place,
    *,
    simplify: bool = True,
    verification: Verification | None = None,
) -> OnnxInfo:
    """Writes `static` to `path` as ONNX (opset 20) and returns what was written.

    Beside it goes its manifest, model.manifest.json for model.onnx, which tells of every tensor
    how it is made of the gated network's (`igc audit` checks it); not for a network that was
    loaded, or converted to another type since it was compiled: igc cannot tell of these. Both
    files are written, or none. Each output is compared by value with the static network's before
    that. `verification` is stored in the file's metadata: a mapping, or a function of the
    (temporary) file that returns one and may raise to prevent writing.

    Raises `BadInput` (unwritable path, no ONNX form, 2 GiB or more) and `CheckFailed`.
    """
    source, target = static.compiled_from, Path(path)
    certified = source is not None and source.dtype == static.to_program().dtype
    for each in (target, manifest_path(target)) if certified else (target,):
        check_writable(each)
    with together() as place:
        model = place.file(target)
        info = write_onnx(
            static, model, judge=Agreement(static), simplify=simplify, verification=verification
        )
        if certified and source is not None:
            certify(static, model, place.file(manifest_path(target)), source.hashes)
        size = model.stat().st_size
    return replace(info, path=str(path), size=size)


def export_source(static: StaticNetwork, folder: Place) -> None:
    """Writes `net.py` and `weights.safetensors` into `folder`, which is made where it is missing.

    `net.py` holds a class `Net` with the very forward of `static`, and `load(path)`. Both files
    are written, or none. Raises `BadInput` where the folder cannot be written or is named like an
    ONNX file, or where parameters were reshaped since compiling.
    """
    require_source_folder(folder)
    static.to_program()  # refuses a module that another tool has cut
    with together() as place:
        write_source(static, *place.files_in(folder, (CODE, WEIGHTS)))
