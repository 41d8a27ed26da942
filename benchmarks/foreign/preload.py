"""Imported once by the process that all others are forked from: a small network, all the way.

Importing alone would not do: torch loads much of its export machinery at the first capture.
"""

from __future__ import annotations

import contextlib
import os
import warnings

# One thread, as the environment says it: where the number is set by a call, a forked process
# aborts when torch sets it anew in a thread that takes a gradient ("Invalid thread pool").
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch

from benchmarks.foreign import catalog, gating, judge


class Small(torch.nn.Module):
    """A convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.last = torch.nn.Linear(4, catalog.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x)).relu().mean((2, 3)))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _inputs = (torch.randn(2, 3, 8, 8),)
    _net = gating.gated(Small(), _inputs, "layer")
    judge.compilation(_net, _inputs)
    for _library in ("torchvision", "timm"):
        with contextlib.suppress(ImportError):  # one of them is enough
            __import__(_library)
