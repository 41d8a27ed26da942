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
