"""What the commands share: loading a network, results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parse import InputShape

if TYPE_CHECKING:
    from torch import Tensor, nn


def debugging() -> bool:
    """True when IGC_DEBUG asks for tracebacks and for the warnings of other libraries."""
    return os.environ.get("IGC_DEBUG", "") not in ("", "0")


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Sends what other libraries print to stderr, so that stdout stays readable by programs."""
    import warnings

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        if not debugging():
            warnings.simplefilter("ignore")
        yield


def print_json(value: Mapping[str, Any]) -> None:
    """Prints `value` as one JSON object; numbers that JSON lacks become "nan", "inf", "-inf"."""
    from igc.reports.writers import as_json

    print(as_json(_plain(value)), end="")


def say(text: str) -> None:
    """Prints a text on stdout, without what a terminal would obey."""
    from igc.errors import clean

    print(clean(text))


def _plain(value: Any) -> Any:
    """`value` with only what JSON can hold: paths as text, tuples as lists, no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def require_file(path: Path) -> None:
    """Raises BadInput unless `path` is a file that can be read."""
    from igc.errors import BadInput

    if not path.exists():
        raise BadInput(f"there is no file {path}; check the name")
    if not path.is_file():
        raise BadInput(f"{path} is not a file; name a checkpoint or a model")
    if not os.access(path, os.R_OK):
        raise BadInput(f"{path} may not be read; check its permissions")


def example_inputs(shapes: Sequence[InputShape] | None) -> tuple[Tensor, ...] | None:
    """Returns one tensor per --input, the same ones every time, or None when there was none.

    Real numbers are standard normal; whole numbers and truth values are 0 and 1, which are valid
    indices into any table.
    """
    if not shapes:
        return None
    import torch

    generator = torch.Generator().manual_seed(0)

    def make(shape: InputShape) -> Tensor:
        dtype: torch.dtype = getattr(torch, shape.dtype)
        if dtype.is_floating_point:
            return torch.randn(shape.sizes, generator=generator).to(dtype)
        return torch.randint(0, 2, shape.sizes, generator=generator).to(dtype)

    return tuple(make(shape) for shape in shapes)


def tell(notes: Sequence[str]) -> None:
    """Prints notes on stderr, one line each."""
    from igc.errors import clean

    for note in notes:
        print(f"igc: note: {clean(note)}", file=sys.stderr)


def load_network(path: Path, model: str | None, key: str | None = None) -> nn.Module:
    """Returns the network in eval mode: from an igc file, or a state_dict file plus `model`.

    `key` chooses a part of a state_dict file; what igc chose is told on stderr. Raises BadInput
    when they do not fit.
    """
    require_file(path)
    import igc
    from igc import checkpoint
    from igc.errors import BadInput

    if checkpoint.is_igc_file(path):
        for option, given in (("--model", model), ("--key", key)):
            if given is not None:
                raise BadInput(f"{path} carries its own network; leave out {option}")
        return igc.load(path)
    if model is None:
        raise BadInput(
            f"{path} was not written by igc.save; if it is a state_dict, name the function "
            "that builds its network with --model FILE.py:factory"
        )
    network = checkpoint.build_model(model)
    tell(checkpoint.load_into(network, path, key))
    return network.eval()


def require_shapes(path: Path, model: str | None, inputs: tuple[Tensor, ...] | None) -> None:
    """Raises BadInput when the shapes of the inputs are known neither from `path` nor `inputs`."""
    require_file(path)
    from igc import checkpoint
    from igc.errors import BadInput

    if model is not None and inputs is None and not checkpoint.is_igc_file(path):
        raise BadInput(f"{path} does not tell its input's shape; give it with --input 1x3x224x224")
