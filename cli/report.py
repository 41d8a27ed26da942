"""`igc report`: what a network costs, and whether that is within a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import render
from .common import (
    example_inputs,
    load_network,
    only_results_on_stdout,
    require_file,
    require_shapes,
)
from .options import Input, Key, Model
from .parse import FORMATS, TABLE, Quantity, parse_format, parse_quantity

if TYPE_CHECKING:
    from torch import Tensor

    from igc.reports import Report


def command(
    network: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT|MODEL.onnx",
            show_default=False,
            help="A checkpoint, which is reported gated against compiled, or an ONNX file.",
        ),
    ],
    how: Annotated[
        str,
        typer.Option(
            "--format",
            parser=parse_format,
            metavar=f"[{'|'.join(FORMATS)}]",
            help="How to print the report.",
        ),
    ] = TABLE,
    max_macs: Annotated[
        Quantity | None,
        typer.Option(
            "--max-macs",
            parser=parse_quantity,
            metavar="1.2G",
            show_default=False,
            help="Budget of multiply-adds for one image; exit code 1 when the compiled network "
            "needs more.",
        ),
    ] = None,
    max_params: Annotated[
        Quantity | None,
        typer.Option(
            "--max-params",
            parser=parse_quantity,
            metavar="4M",
            show_default=False,
            help="Budget of parameters; exit code 1 when the compiled network has more.",
        ),
    ] = None,
    model: Model = None,
    key: Key = None,
    shapes: Input = None,
) -> None:
    """Report MACs, FLOPs, parameters and file sizes, per task and per layer.

    Examples:

      igc report gated.pt

      igc report gated.pt --format md > cost.md

      igc report model.onnx --max-macs 1.2G --max-params 4M
    """
    inputs = example_inputs(shapes)
    with only_results_on_stdout():
        result = make_report(network, model, inputs, key)
        from igc.reports import over_budget

        over = over_budget(
            result,
            None if max_macs is None else max_macs.value,
            None if max_params is None else max_params.value,
        )
    if how == TABLE:
        render.report(result.to_dict())
    else:
        typer.echo(result.text(how), nl=False)
    if over:
        from igc.errors import CheckFailed

        raise CheckFailed(f"{network}: {'; '.join(over)}")


def make_report(
    path: Path, model: str | None, inputs: tuple[Tensor, ...] | None, key: str | None = None
) -> Report:
    """The report of an ONNX file, a static network, or a gated one against its compiled form."""
    require_file(path)
    import igc
    from igc.checkpoint import is_igc_file

    carries_all = path.suffix.lower() == ".onnx" or is_igc_file(path)
    if carries_all and model is None and inputs is None and key is None:
        return igc.report(path)
    if path.suffix.lower() == ".onnx":
        from igc.errors import BadInput

        raise BadInput(
            f"{path}: an ONNX file knows its network and its inputs; leave out --model and "
            "--input, and --key"
        )
    require_shapes(path, model, inputs)
    network = load_network(path, model, key)
    made = igc.report(network, igc.compile(network, inputs), files={"gated": path})
    return replace(made, network=path.name)
