"""Every error that igc raises on purpose, in one tree.

    IgcError                 root; `exit_code` is what the command line returns
    ├── BadInput             2  a file, an argument or a network that igc cannot take
    │   ├── BadCheckpoint    2  the checkpoint is damaged, foreign, unsafe or does not fit the model
    │   └── Refused          2  a gate that is not a constant: stochastic or input-dependent
    ├── CheckFailed          1  the check ran and the answer is no (mismatch, budget exceeded)
    └── LintError            3  igc produced a malformed graph: a defect in igc, not the user's

A message is one line: what is wrong, where (layer, file, op), what to do.
"""

from __future__ import annotations

import linecache
import unicodedata
from pathlib import Path
from types import FrameType
from typing import Any

# Control characters; what turns the direction of writing or has no width; private, lone and
# unassigned code points; separators of lines. A terminal obeys some, a reader sees none of them.
_UNCLEAN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


class IgcError(Exception):
    """Root of all errors that igc raises on purpose."""

    exit_code = 2


class BadInput(IgcError):
    """A file, an argument or a network that igc cannot take."""


class BadCheckpoint(BadInput):
    """A checkpoint that is damaged, foreign, unsafe or does not fit its model."""


class Refused(BadInput):
    """A gate that is not a constant in evaluation mode; the message names its layer."""


class CheckFailed(IgcError):
    """A check that ran and whose answer is no."""

    exit_code = 1


class LintError(IgcError):
    """A malformed graph made by igc itself."""

    exit_code = 3


def one_line(error: object, most: int = 300, *, in_ascii: bool = False) -> str:
    """What an error of another library says, on one line of at most `most` characters.

    `in_ascii` is for texts that nobody vouches for: what is not ASCII is escaped. The name of the
    error's type where it says nothing.
    """
    text = ascii(str(error))[1:-1] if in_ascii else str(error)
    return " ".join(text.split())[:most] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or the name of its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def show(value: Any) -> str:
    """`value` as it may stand in a message: on one line, in ASCII, 80 characters at most."""
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    shown = ascii(value[:80] if isinstance(value, str) else value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def is_clean(text: str) -> bool:
    """Whether a text can be shown on a line of its own, and shows all that it holds.

    So no control characters, no surrogates, no marks of direction, nothing without width.
    """
    return text.isprintable() or not any(unicodedata.category(c) in _UNCLEAN for c in text)


def clean(text: str) -> str:
    """A text as it may be shown: what `is_clean` does not take is escaped; line breaks stay."""
    if is_clean(text):
        return text
    return "".join(c if c == "\n" or is_clean(c) else ascii(c)[1:-1] for c in text)


def line_of(frame: FrameType) -> str:
    """The line of Python that a frame is at, as `net.py:31 'if h % 2:'`."""
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, number).strip()
    return f"{Path(file).name}:{number}" + (f" '{text[:60]}'" if text else "")


def line_outside(frame: FrameType | None, folders: tuple[str, ...]) -> str:
    """The line of the innermost frame, from this one outwards, in none of the folders; or empty."""
    while frame is not None and frame.f_code.co_filename.startswith(folders):
        frame = frame.f_back
    return "" if frame is None else line_of(frame)
