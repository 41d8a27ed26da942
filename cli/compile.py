"""`igc compile`: from a checkpoint to a verified ONNX file."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import render
from .common import example_inputs, load_network, only_results_on_stdout, print_json, require_shapes
from .options import Checkpoint, FullSize, Input, Json, Model, Tasks

if TYPE_CHECKING:
    from igc.emit import StaticNetwork
    from igc.reports import Report
    from igc.verification import Check, Leg
    from igc.verification.torch_side import Memo

REPORT_WRITERS = {".html": "to_html", ".md": "to_markdown", ".csv": "to_csv", ".json": "to_json"}


@dataclass(frozen=True)
class Targets:
    """The files that one run writes; those that were not asked for are None."""

    onnx: Path
    torch: Path | None
    source: Path | None
    report: Path | None

    @property
    def manifest(self) -> Path:
        """The manifest, which is always written: MODEL.manifest.json."""
        return self.onnx.with_suffix(".manifest.json")

    def named(self) -> Iterator[tuple[str, Path]]:
        """The option and the path of each file asked for."""
        for option, path in (
            ("--out", self.onnx),
            ("manifest", self.manifest),
            ("--torch-out", self.torch),
            ("--source-out", self.source),
            ("--report", self.report),
        ):
            if path is not None:
                yield option, path


def command(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="MODEL.onnx", show_default=False, help="The ONNX file."),
    ],
    model: Model = None,
    shapes: Input = None,
    tasks: Tasks = None,
    torch_out: Annotated[
        Path | None,
        typer.Option(
            "--torch-out",
            metavar="F.pt",
            show_default=False,
            help="Also save the static network, for igc.load.",
        ),
    ] = None,
    source_out: Annotated[
        Path | None,
        typer.Option(
            "--source-out",
            metavar="DIR",
            show_default=False,
            help="Also write net.py and weights.safetensors, which need PyTorch but not igc.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="F.html",
            show_default=False,
            help="Also write the cost report, as its suffix says: .html, .md, .csv or .json.",
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Skip the proof that gated and compiled agree."),
    ] = False,
    split_groups: Annotated[
        bool,
        typer.Option(
            "--split-groups",
            help="Make several convolutions of a grouped one whose groups need unequal widths: "
            "fewer weights and MACs, more operations.",
        ),
    ] = False,
    full_size: FullSize = False,
    as_json: Json = False,
) -> None:
    """Compile a gated network into a plain static one, verify it, and write it as ONNX.

    Beside MODEL.onnx lies MODEL.manifest.json, which tells of every tensor how it is made of the
    checkpoint's; `igc audit` checks it.

    All files are written under temporary names and renamed at the end: when compiling or
    verifying fails, nothing is written and older files stay as they were.

    Examples:

      igc compile gated.pt --out model.onnx

      igc compile gated.pt --out model.onnx --tasks seg,depth --report cost.html

      igc compile weights.pt --out model.onnx --model nets.py:make_net --input 1x3x224x224
    """
    inputs = example_inputs(shapes)
    targets = Targets(out, torch_out, source_out, report)
    _check(targets)
    require_shapes(checkpoint, model, inputs)
    started = time.perf_counter()
    checks: dict[str, Check] = {}
    with only_results_on_stdout():
        import igc
        from igc.compiler import compilation

        names = None if tasks is None else tasks.names
        reference = load_network(checkpoint, model)
        made = compilation(reference, inputs, tasks=names, split_groups=split_groups)
        memo: Memo = {}  # both checks run the same inputs
        static = made.static
        if not no_verify:  # this shows that the structure is right, `prove` that the file is
            check = igc.verify(reference, made, tasks=names, full=full_size, memo=memo)
            checks["static"] = replace(
                check, reference=str(checkpoint), candidate="the static network"
            )
        del made  # its program holds folded weights in float64

        def prove(model_file: Path) -> dict[str, Any]:
            check = igc.verify(reference, model_file, tasks=names, full=full_size, memo=memo)
            # model_file is a temporary file
            checks["onnx"] = replace(check, reference=str(checkpoint), candidate=str(out))
            if not check:
                raise _Disproved
            return {"passed": True, **{name: _ways(check) for name, check in checks.items()}}

        def sign(model_file: Path, manifest: Path) -> None:
            from igc.certificate.manifest import hashes
            from igc.certificate.write import certify

            figures = {name: _figures(check) for name, check in checks.items()}
            read = {} if static.compiled_from is None else static.compiled_from.hashes
            found = {**read, **hashes(checkpoint, reference)}
            certify(static, model_file, manifest, found, figures or None)

        def costs(model_files: list[Path]) -> Report:
            files: dict[str, Path | list[Path]] = {"gated": checkpoint, "static": model_files}
            made = igc.report(reference, static, files=files, references=report is not None)
            return replace(made, network=checkpoint.name)

        with contextlib.suppress(_Disproved):
            if not all(checks.values()):
                raise _Disproved
            found = _write(targets, static, costs, None if no_verify else prove, sign)
    passed = all(checks.values())
    outcome: dict[str, Any] = {
        "checkpoint": checkpoint,
        "passed": passed,
        "written": dict(targets.named()) if passed else {},
        "seconds": round(time.perf_counter() - started, 3),
        "verify": {name: check.to_dict() for name, check in checks.items()} or None,
        "report": found.to_dict() if passed else None,
    }
    if as_json:
        print_json(outcome)
    else:
        render.compiled(outcome, [str(check) for check in checks.values()])
    if not passed:
        from igc.errors import CheckFailed

        odd = [note for check in checks.values() for note in check.notes if "not finite" in note]
        why = f"it cannot be compared: {odd[0]}" if odd else "this is a defect in igc: report it"
        raise CheckFailed(
            f"{checkpoint} and its compiled network differ, so nothing was written; {why}"
        )


class _Disproved(Exception):
    """The two networks differ: nothing may be written."""


def _check(targets: Targets) -> None:
    """Raises for a path that cannot be written or is given twice, before any long work."""
    if targets.onnx.suffix != ".onnx":
        raise typer.BadParameter(f"--out {targets.onnx} has to end in .onnx")
    if targets.report is not None and targets.report.suffix not in REPORT_WRITERS:
        endings = ", ".join(REPORT_WRITERS)
        raise typer.BadParameter(f"--report {targets.report} has to end in one of {endings}")
    taken: dict[Path, str] = {}
    for option, path in targets.named():
        other = taken.setdefault(path.absolute(), option)
        if other != option:
            raise typer.BadParameter(f"{other} and {option} both name {path}; name two files")
    from igc.files import check_writable, check_writable_folder

    for option, path in targets.named():
        check = check_writable_folder if option == "--source-out" else check_writable
        check(path)


def _ways(check: Check) -> list[str]:
    """How the networks were compared: what an ONNX file says of its own verification."""
    return sorted({leg.way for output in check.outputs.values() for leg in output.legs})


def _figures(check: Check) -> dict[str, Any]:
    """The largest error of each output and its bound, over the output's largest value.

    Each as the power of ten above: further digits depend on how many threads computed them.
    """

    def above(part: float, whole: float) -> float:
        share = part / whole if part and whole else part
        return float(f"1e{math.ceil(math.log10(share))}") if 0 < share < math.inf else share

    def worst(legs: list[Leg]) -> dict[str, float]:
        leg = max(legs, key=lambda leg: leg.strain)
        return {"error": above(leg.max_abs, leg.scale), "bound": above(leg.bound, leg.scale)}

    ways: dict[str, Any] = {way: {} for way in _ways(check)}
    for name, output in check.outputs.items():
        for way, found in ways.items():
            found[name] = worst([leg for leg in output.legs if leg.way == way])
    return ways


def _write(
    targets: Targets,
    static: StaticNetwork,
    costs: Callable[[list[Path]], Report],
    prove: Callable[[Path], dict[str, Any]] | None,
    sign: Callable[[Path, Path], None],
) -> Report:
    """Writes every target, or none where `prove` raises; returns the cost report."""
    from igc.emit.onnx.write import write_onnx
    from igc.files import atomic_write

    with contextlib.ExitStack() as renames:
        files = [renames.enter_context(atomic_write(targets.onnx))]
        write_onnx(static, files[0], verification=prove)
        sign(files[0], renames.enter_context(atomic_write(targets.manifest)))
        if targets.torch is not None:
            files.append(renames.enter_context(atomic_write(targets.torch)))
            static.save(files[1])
        report = costs(files)
        if targets.report is not None:
            page = renames.enter_context(atomic_write(targets.report))
            text = getattr(report, REPORT_WRITERS[targets.report.suffix])()
            page.write_text(text, encoding="utf-8")
        if targets.source is not None:
            static.export(targets.source)
    return report
