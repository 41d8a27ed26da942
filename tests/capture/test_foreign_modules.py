"""Modules that have no Python to capture: refused by name, with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.errors import BadInput


class Net(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.a, self.part = nn.Conv2d(3, 8, 3), part

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.a(x))


def prepared() -> nn.Module:
    from torch.ao import quantization

    part = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
    part.qconfig = quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    return quantization.prepare_qat(part.train())


def fake() -> nn.Module:
    from torch.ao import quantization

    return quantization.FakeQuantize()


PARTS: dict[str, tuple[Callable[[], Any], str]] = {
    "scripted": (
        lambda: torch.jit.script(nn.Conv2d(8, 8, 1)),
        "module 'part' is compiled by torch.jit: compile the network as it was before",
    ),
    "prepared": (prepared, "module 'part.0' .* is made for quantisation: compile the network as"),
    "fake quantisation": (fake, "module 'part' .FakeQuantize. is made for quantisation"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_what_cannot_be_captured_is_named(kind: str, recwarn: pytest.WarningsRecorder) -> None:
    make, words = PARTS[kind]
    with pytest.raises(BadInput, match=words) as refusal:
        igc.compile(Net(make()).eval(), (torch.randn(2, 3, 8, 8),))
    assert "\n" not in str(refusal.value)
