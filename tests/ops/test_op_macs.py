"""The cost of single ops against products written out by hand, and against PyTorch's counter."""

from __future__ import annotations

import math
import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counting import Cost, MacCounter, count
from igc.ops import TABLE
from igc.ops.macs import COUNTED_OPS, ZERO_OPS, is_free, op_macs
from igc.program.schema import base_name

aten = torch.ops.aten

#: op, arguments (shapes for tensors), shape of the result, MACs as a product.
CASES = [
    (aten.conv1d.default, [(2, 6, 20), (8, 6, 5), None], (2, 8, 16), 2 * 16 * 8 * 6 * 5),
    (aten.conv2d.default, [(2, 6, 9, 7), (8, 6, 3, 3), (8,)], (2, 8, 7, 5), 2 * 35 * 8 * 6 * 9),
    (aten.conv2d.padding, [(1, 6, 9, 7), (6, 1, 3, 3), None], (1, 6, 9, 7), 63 * 6 * 9),
    (aten.conv2d.default, [(6, 9, 7), (8, 6, 3, 3), (8,)], (8, 7, 5), 35 * 8 * 6 * 9),
    (aten.conv3d.default, [(1, 4, 5, 5, 5), (8, 2, 3, 3, 3)], (1, 8, 3, 3, 3), 27 * 8 * 2 * 27),
    (aten.conv_transpose1d.default, [(2, 6, 5), (6, 4, 2)], (2, 4, 10), 2 * 5 * 6 * 4 * 2),
    (aten.conv_transpose2d.input, [(2, 6, 5, 4), (6, 4, 2, 2)], (2, 4, 10, 8), 2 * 20 * 6 * 4 * 4),
    (aten.conv_transpose3d.input, [(1, 6, 2, 2, 2), (6, 1, 3, 3, 3)], (1, 3, 4, 4, 4), 8 * 6 * 27),
    (
        aten.convolution.default,
        [(1, 6, 9, 7), (8, 3, 3, 3), None, [2, 2], [1, 1], [1, 1], False, [0, 0], 2],
        (1, 8, 5, 4),
        20 * 8 * 3 * 9,
    ),
    (
        aten.convolution.default,
        [(1, 6, 5, 4), (6, 4, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1],
        (1, 4, 10, 8),
        20 * 6 * 4 * 4,
    ),
    (aten.linear.default, [(2, 5, 7), (3, 7), (3,)], (2, 5, 3), 2 * 5 * 7 * 3),
    (aten.addmm.default, [(3,), (10, 7), (7, 3)], (10, 3), 10 * 7 * 3),
    (aten.mm.default, [(10, 7), (7, 3)], (10, 3), 10 * 7 * 3),
    (aten.mv.default, [(10, 7), (7,)], (10,), 10 * 7),
    (aten.dot.default, [(7,), (7,)], (), 7),
    (aten.bmm.default, [(4, 10, 7), (4, 7, 3)], (4, 10, 3), 4 * 10 * 7 * 3),
    (aten.baddbmm.default, [(4, 1, 3), (4, 10, 7), (4, 7, 3)], (4, 10, 3), 4 * 10 * 7 * 3),
    (aten.addbmm.default, [(10, 3), (4, 10, 7), (4, 7, 3)], (10, 3), 4 * 10 * 7 * 3),
    (aten.matmul.default, [(2, 1, 10, 7), (5, 7, 3)], (2, 5, 10, 3), 10 * 10 * 7 * 3),
    (
        aten.scaled_dot_product_attention.default,
        [(2, 3, 10, 8), (2, 3, 12, 8), (2, 3, 12, 6)],
        (2, 3, 10, 6),
        2 * 3 * 10 * 12 * (8 + 6),
    ),
    (aten.einsum.default, ["bij,bjk->bik", [(4, 10, 7), (4, 7, 3)]], (4, 10, 3), 4 * 10 * 7 * 3),
    (aten.einsum.default, ["...ij,kj", [(2, 4, 5), (3, 5)]], (2, 4, 3), 2 * 4 * 5 * 3),
    (aten.einsum.default, ["ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]], (2, 5), 2 * 12 + 2 * 20),
    (aten.einsum.default, ["bij->b", [(4, 10, 7)]], (4,), 0),
    (aten.lstm.input, [(9, 2, 5), [], [(24, 5), (24, 6), (24,), (24,)]], (9, 2, 6), 18 * 24 * 11),
    (aten.gru_cell.default, [(2, 5), (2, 6), (18, 5), (18, 6)], (2, 6), 2 * 18 * 11),
]


@pytest.mark.parametrize(("op", "args", "out", "macs"), CASES, ids=lambda case: str(case)[:40])
def test_macs_from_shapes(op: object, args: list[object], out: tuple[int, ...], macs: int) -> None:
    assert op_macs(op, args, out) == macs
    tensors = [torch.empty(a, device="meta") if isinstance(a, tuple) else a for a in args]
    assert op_macs(op, tensors, torch.empty(out, device="meta")) == macs


CALLS = {
    "grouped conv": lambda x: F.conv2d(x, torch.randn(8, 2, 3, 3), stride=2, groups=2),
    "depthwise conv": lambda x: F.conv2d(x, torch.randn(4, 1, 3, 3), padding="same", groups=4),
    "dilated conv": lambda x: F.conv2d(x, torch.randn(5, 4, 3, 3), padding=4, dilation=4),
    "transposed conv": lambda x: F.conv_transpose2d(x, torch.randn(4, 3, 4, 4), stride=4),
    "grouped transposed conv": lambda x: F.conv_transpose2d(x, torch.randn(4, 3, 2, 2), groups=2),
    "linear": lambda x: F.linear(x, torch.randn(3, 12), torch.randn(3)),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "einsum": lambda x: torch.einsum("nchw,nkhw->nck", x, x),
}


@pytest.mark.parametrize("name", CALLS)
def test_running_ops_cost_half_of_what_pytorch_counts(name: str) -> None:
    with torch.device("meta"):  # on a CPU PyTorch's counter does not see fused attention
        x = torch.randn(2, 4, 10, 12)
        with MacCounter() as ours:
            CALLS[name](x)
        with FlopCounterMode(display=False) as theirs:
            CALLS[name](x)
    assert 2 * sum(ours.by_op.values()) == theirs.get_total_flops() > 0
    assert ours.uncounted == {}


def test_fused_attention_on_a_cpu_costs_what_its_products_cost() -> None:
    x = torch.randn(2, 4, 10, 12)
    with MacCounter() as counter:
        F.scaled_dot_product_attention(x, x, x)
    assert sum(counter.by_op.values()) == 2 * 4 * 10 * 10 * (12 + 12)


def test_free_ops_cost_nothing_and_say_why() -> None:
    free = (
        aten.relu_.default,  # in place
        aten.mul.Tensor,
        aten.where.self,
        aten.batch_norm.default,
        aten.max_pool2d.default,
        aten.upsample_bilinear2d.vec,
        aten.softmax.int,
        aten.cat.default,
        aten.view_copy.default,
        aten._to_copy.default,
        aten.chunk.default,
        aten.index_select.default,
    )
    for op in free:
        assert is_free(op), op
        assert op_macs(op, [(2, 3)], (2, 3)) == 0
    assert op_macs(operator.getitem, [[(2, 3)], 0], (2, 3)) == 0


def test_no_op_is_both_counted_and_free() -> None:
    for reason, names in ZERO_OPS.items():
        assert names.isdisjoint(COUNTED_OPS), reason
    for name in COUNTED_OPS:
        if hasattr(aten, name):
            packet = getattr(aten, name)
            assert not is_free(getattr(packet, packet.overloads()[0])), name


def test_no_op_with_a_rule_is_listed_as_free() -> None:
    """It is free for having a rule and no count."""
    ruled = {name.split(".")[1] for name in TABLE}
    for reason, names in ZERO_OPS.items():
        assert names.isdisjoint(ruled), reason


def test_every_listed_op_exists() -> None:
    existing = {s.name.split("::")[-1] for s in torch._C._jit_get_all_schemas()}
    listed = set(COUNTED_OPS).union(*ZERO_OPS.values())
    missing = {n for n in listed if not existing & {n, f"{n}_", f"{n}_copy"}}
    assert missing == set()


def test_the_cost_of_an_unknown_op_is_not_guessed() -> None:
    unknown = (
        aten.fft_fft.default,
        aten.linalg_inv.default,
        aten._native_multi_head_attention.default,
    )
    for op in unknown:
        assert op_macs(op, [(4, 4)], (4, 4)) is None
    assert op_macs(lambda x: x, [(4, 4)], (4, 4)) is None

    class Spectrum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x @ x).abs()

    cost = count(Spectrum(), torch.zeros(4, 4))
    assert cost.macs == 4 * 4 * 4
    assert cost.uncounted
    assert "not counted" in str(cost)


def test_a_custom_op_named_like_a_counted_one_is_not_counted() -> None:
    library = torch.library.Library("igc_test_cost", "DEF")
    library.define("conv2d(Tensor x) -> Tensor")
    assert base_name(torch.ops.igc_test_cost.conv2d.default) == "conv2d"
    assert op_macs(torch.ops.igc_test_cost.conv2d.default, [(4, 4)], (4, 4)) is None


class Tied(nn.Module):
    """A linear used twice, a weight used by two linears, buffers and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first
        self.third = nn.Linear(6, 6, bias=False)
        self.third.weight = self.first.weight
        self.norm = nn.BatchNorm1d(6)
        self.unused = nn.Parameter(torch.zeros(5))

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.norm(self.third(self.second(self.first(x["x"]))))


def test_counting_leaves_the_module_as_it_was() -> None:
    network = Tied()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost = count(network, {"x": torch.randn(3, 6)})
    assert cost.macs == 3 * 3 * 6 * 6
    assert cost.params == 6 * 6 + 6 + 2 * 6 + 5
    assert network.training
    assert network.first.training
    assert not network.norm.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.third.weight is network.second.weight is network.first.weight
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}


def test_counting_allocates_no_activations() -> None:
    """A result of 2^60 elements could not be computed."""
    side = 2**30
    with torch.device("meta"):
        network = nn.Linear(1, side, bias=False)
    cost = count(network, torch.empty(side, 1, device="meta"))
    assert cost.macs == math.prod((side, side))


def test_cost_prints_macs_and_flops_and_labels_them() -> None:
    assert str(Cost(1500, 20)) == "1,500 MACs (3,000 FLOPs), 20 parameters"
