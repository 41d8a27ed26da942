"""`igc.explain` tells, by layer, which channels live and who reads them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import igc
from igc.errors import BadInput
from igc.reports.explanation import ranges


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own, self.shared = nn.Linear(4, 6), nn.Linear(4, 6)
        self.register_buffer("open", torch.tensor([True, True, False, False, True, False]))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"seg": self.head(torch.where(self.open, self.own(x), self.shared(x)))}


def test_live_and_dead_channels_and_their_readers() -> None:
    reasons = {r.layer: r for r in igc.explain(Gated(), None, torch.randn(2, 4)).reasons}
    assert reasons["own"].live == (0, 1, 4) and reasons["own"].dead == (2, 3, 5)
    assert reasons["shared"].live == (2, 3, 5)
    assert reasons["head"].kept == 2 and reasons["own"].outputs == ("seg",)
    assert [r.channels for r in reasons["own"].readers] == [(0, 1, 4)]


def test_one_layer_in_words() -> None:
    text = str(igc.explain(Gated(), "own", torch.randn(2, 4)))
    assert "own (aten.linear.default): 3 of 6 channels kept" in text
    assert "dead      2-3, 5" in text and "reaches seg" in text


def test_an_unknown_layer_names_close_ones() -> None:
    with pytest.raises(BadInput, match=r"did you mean .*shared"):
        igc.explain(Gated(), "shard", torch.randn(2, 4))


def test_to_dict_is_plain() -> None:
    import json

    found = igc.explain(Gated(), None, torch.randn(2, 4)).to_dict()
    assert json.loads(json.dumps(found))["ops"][0]["kept"] == 3


def test_ranges() -> None:
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"
    assert ranges(()) == ""
