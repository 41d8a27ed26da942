"""`einsum` and `tensordot` are written out as products of matrices, and no axis is merged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from igc.capture import capture
from igc.capture.contractions import einsum, tensordot
from igc.program.schema import operation

EQUATIONS = [
    ("bnd,de->bne", (2, 5, 4), (4, 3)),
    ("bhnd,bhmd->bhnm", (2, 3, 5, 4), (2, 3, 6, 4)),
    ("bnhd,bmhd->bhnm", (2, 5, 3, 4), (2, 6, 3, 4)),
    ("bij,bjk,bkl->bil", (2, 3, 4), (2, 4, 5), (2, 5, 3)),
    ("...ij,...jk", (2, 3, 4), (2, 4, 5)),
    ("b...c,cd->b...d", (2, 4, 5, 6), (6, 3)),
    ("bi,bj->bij", (2, 3), (2, 4)),
    ("ba,bc,bd->bacd", (2, 3), (2, 4), (2, 5)),
    ("bc->b", (2, 3)),
    ("bij->bji", (2, 3, 4)),
    ("bc,c", (2, 3), (3,)),
    ("bi,bi->", (2, 3), (2, 3)),
    ("bhwc,hkc->bhwk", (2, 4, 5, 6), (4, 7, 6)),
    ("nkctv,kvw->nctw", (2, 3, 4, 6, 5), (3, 5, 5)),
    ("bac,bdc->bad", (2, 1, 4), (2, 3, 4)),
]


@pytest.mark.parametrize(("equation", "shapes"), [(e[0], e[1:]) for e in EQUATIONS])
def test_einsum_computes_the_same(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = [torch.randn(s, dtype=torch.float64) for s in shapes]
    found = einsum(equation, inputs)
    torch.testing.assert_close(found, torch.einsum(equation, *inputs), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("a", "b", "dims"),
    [
        ((2, 3, 4), (4, 5), 1),
        ((3, 4), (4, 2, 8), ([1], [0])),
        ((2, 3, 4, 5), (5, 3, 6), ([1, 3], [1, 0])),
        ((2, 8, 3), (3, 3), ([-1], [1])),
        ((2, 3), (4, 5), 0),
    ],
)
def test_tensordot_computes_the_same(a: tuple[int, ...], b: tuple[int, ...], dims) -> None:
    inputs = [torch.randn(s, dtype=torch.float64) for s in (a, b)]
    axes = dims if isinstance(dims, tuple) else (range(len(a) - dims, len(a)), range(dims))
    found = tensordot(*inputs, *axes)
    torch.testing.assert_close(found, torch.tensordot(*inputs, dims), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("equation", "shapes"), [("bii->bi", [(2, 3, 3)]), ("bi,ij->bj", [(2, 1), (3, 4)])]
)
def test_a_letter_twice_and_a_broadcast_are_left_to_torch(equation: str, shapes) -> None:
    assert einsum(equation, [torch.randn(s) for s in shapes]) is NotImplemented


class Einsum(nn.Module):
    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation

    def forward(self, *operands: Tensor) -> Tensor:
        return torch.einsum(self.equation, *operands)


@pytest.mark.slow
def test_heads_are_not_merged_with_the_batch() -> None:
    """Torch's own way reshapes [batch, heads, ...] to one axis, along which no head can go."""
    shapes = ((2, 5, 3, 4), (2, 6, 3, 4))
    inputs = [torch.randn(s) for s in shapes]
    program = capture(Einsum("bnhd,bmhd->bhnm"), tuple(inputs))
    ops = {operation(n) for n in program.graph.nodes if n.op == "call_function"}
    assert ops == {"aten.permute.default", "aten.matmul.default"}
