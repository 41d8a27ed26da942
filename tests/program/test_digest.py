"""Bytes of tensors, however they lie in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import igc
from igc.program.digest import digest, raw_bytes

TENSORS = {
    "one element of stride 0": torch.tensor(2.5, dtype=torch.float64).expand(1),
    "a number": torch.tensor(3),
    "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "part of another": torch.arange(6.0)[2:5],
    "every second one": torch.arange(6)[::2],
    "bfloat16": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    "booleans": torch.tensor([True, False]),
    "needs a gradient": torch.ones(2, requires_grad=True),
    "empty": torch.zeros(0, 3),
}


@pytest.mark.parametrize("value", TENSORS.values(), ids=TENSORS.keys())
def test_bytes_are_those_of_a_plain_copy(value: Tensor) -> None:
    copy = torch.tensor(value.detach().tolist(), dtype=value.dtype).reshape(value.shape)
    assert bytes(raw_bytes(value)) == bytes(raw_bytes(copy))
    assert len(raw_bytes(value)) == value.numel() * value.element_size()
    assert digest(value) == digest(copy)


def test_shape_and_type_count() -> None:
    x = torch.zeros(2, 3)
    assert len({digest(x), digest(x.t()), digest(x.int()), digest(x + 1)}) == 4


def test_a_constant_of_stride_0_compiles() -> None:
    class Scaled(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.tensor(2.0).expand(1)

    net, x = Scaled(3, 2), torch.randn(2, 3)
    assert igc.verify(net, igc.compile(net, x), x).passed
