"""`igc audit`: is a compiled model what its manifest says, and made of this checkpoint?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import rebuilt
from .common import (
    example_inputs,
    load_network,
    only_results_on_stdout,
    print_json,
    require_file,
    require_shapes,
    say,
)
from .options import Input, Json, Key, Model

if TYPE_CHECKING:
    from igc.audit import Audit


def command(
    onnx: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx",
            show_default=False,
            help="What igc compile wrote; its manifest lies beside it.",
        ),
    ],
    against: Annotated[
        Path,
        typer.Option(
            "--against",
            metavar="CKPT",
            show_default=False,
            help="The checkpoint it was compiled from.",
        ),
    ],
    model: Model = None,
    key: Key = None,
    shapes: Input = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Instead, compile the checkpoint anew and compare every byte of the model and its "
            "manifest. Quick, and trusts the compiler; needs the versions of the tools that the "
            "model was made with.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a compiled model's certificate against the checkpoint, without the compiler.

    Every tensor is derived anew from the checkpoint as the manifest MODEL.manifest.json says, the
    rows left out are shown to be unread, the outputs are compared, and the graph is shown to
    compute the gated network for every input.

    Exit code 0: the certificate holds. 1: it does not, and what is wrong is named. 2: it could not
    be checked, or not be shown for every input; the first node where the proof stops is named.

    With --rebuild the checkpoint is compiled anew instead. 0: the same, 1: what differs is named,
    2: it cannot be rebuilt.

    Examples:

      igc audit model.onnx --against gated.pt

      igc audit model.onnx --against gated.pt --rebuild

      igc audit model.onnx --against weights.pt --model nets.py:make_net --input 1x3x224x224
    """
    inputs = example_inputs(shapes)
    require_file(onnx)
    if rebuild:
        rebuilt.check(onnx, against, model, key, inputs, as_json=as_json)
        return
    with only_results_on_stdout():
        require_shapes(against, model, inputs)
        network = load_network(against, model, key)
        from igc.audit import audit
        from igc.capture import capture
        from igc.certificate.manifest import hashes

        known = getattr(network, "to_program", None)
        program = known() if known is not None else capture(network, inputs or ())
        found = audit(onnx, program, hashes(against, network))
    if as_json:
        print_json(found.to_dict())
    else:
        say(_told(found))
    if found.failures:
        raise typer.Exit(1)
    if not found.passed:
        raise typer.Exit(2)


def _told(found: Audit) -> str:
    if found.failures:
        return "\n  ".join([f"the certificate of {found.model} does not hold:", *found.failures])
    held = "holds for what was tried" if found.not_shown else "holds"
    return "\n  ".join(
        [
            f"the certificate of {found.model} {held}:",
            f"{found.moved} tensors are rows of the checkpoint, bit for bit",
            f"{found.folded} tensors are folded from it: {found.worst_ulps:.3g} ulp at most, "
            f"{found.allowed_ulps} are allowed",
            f"{found.literal} tensors are numbers of the graph (indices, shapes, scalars)",
            *_left_out(found),
            f"{len(found.gates)} tensors are gates and mixes: they are taken as given",
            f"the outputs are those of the gated network: {', '.join(found.outputs)}",
            *(
                [f"not shown for every input: {found.not_shown}"]
                if found.not_shown
                else ["the graph computes the gated network, for every input"]
            ),
        ]
    )


def _left_out(found: Audit) -> list[str]:
    """By which argument the elements that the model lacks are unread."""
    by_graph = found.left_out - found.tried - found.zero
    told = [
        f"{found.left_out} elements of the checkpoint are left out, and no output reads them:",
        f"  {by_graph} by the gated graph and its gates, whatever the input",
    ]
    if found.zero:
        told.append(f"  {found.zero} because they are zero in the checkpoint")
    if found.tried:
        told.append(f"  {found.tried} by trial on random inputs:")
        told += [f"    {name}: {where}" for name, where in sorted(found.tried_rows.items())]
    return told
