"""The arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parse import InputShape, TaskNames, parse_input, parse_tasks

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT",
        show_default=False,
        help="What igc.save wrote, or a weight file together with --model.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.py:factory",
        show_default=False,
        help="For a state_dict file: the function that builds its network, as FILE.py:factory or "
        "pkg.mod:factory. This runs that code.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        show_default=False,
        help="For a weight file that holds several sets: the key of the one to take (model_ema), a "
        "path (runs.best), or the beginning that its names have (student).",
    ),
]
Input = Annotated[
    list[InputShape] | None,
    typer.Option(
        "--input",
        parser=parse_input,
        metavar="1x3x224x224",
        show_default=False,
        help="Shape of one network input, batch first, with a type if it is not float32 "
        "(1x16:int64). Once per input, in order. Files written by igc.save know theirs.",
    ),
]
Tasks = Annotated[
    TaskNames | None,
    typer.Option(
        "--tasks",
        parser=parse_tasks,
        metavar="a,b",
        show_default=False,
        help="These tasks alone; what only others need is left out.",
    ),
]
FullSize = Annotated[
    bool,
    typer.Option(
        "--full-size",
        help="Verify at the example's image size, however long it takes. Default: large networks "
        "that take any size are run at a smaller one.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object to standard output and nothing else."),
]
