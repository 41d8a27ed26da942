"""Tracing: modes, in-place ops, sizes asked by Python, optional arguments, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_backbones import assert_close, heads, scrambled, unused_parameters
from torch import Tensor, nn

from igc.errors import BadInput
from igc.nn import gate


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)


def agrees_when_fresh(backbone: nn.Module, x: Tensor, **options: object) -> None:
    """Fresh branches are copies: the network must do what the backbone does, in this mode."""
    net = gate(backbone, heads("ab"), at="layer", init=-1.0, **options)  # type: ignore[arg-type]
    net.double().train(backbone.training)
    for output in net(x).values():
        assert_close(output, backbone.double()(x))


def test_functional_training_flags_follow_the_mode() -> None:
    class Dropping(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.a(x), 1.0, self.training)
            return self.b(x) * (0.5 if self.training else 2.0)

    backbone = Dropping()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    agrees_when_fresh(backbone.eval(), x)
    agrees_when_fresh(backbone.train(), x)
    assert not backbone.training or backbone.a.training  # its own modes are left alone
    net = gate(backbone, heads("a"), at="layer").double()
    assert torch.equal(net(x)["a"], net.branches["a"].b(torch.zeros(2, 4, 4, 4).double()) / 2)
    assert not torch.equal(net.eval()(x)["a"], net.train()(x)["a"])


def test_modules_that_branch_on_training_stay_whole() -> None:
    class DropPath(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            keep = torch.full((x.shape[0], 1, 1, 1), 0.0, dtype=x.dtype)
            return x * keep

    class Stochastic(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.drop = DropPath()

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return x + self.drop(self.b(x))

    backbone = Stochastic()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    agrees_when_fresh(backbone.eval(), x)
    agrees_when_fresh(backbone.train(), x)


def test_a_forward_that_branches_on_training_is_refused() -> None:
    class Auxiliary(Backbone):
        def forward(self, x: Tensor) -> object:
            x = self.a(x)
            return (self.b(x), x) if self.training else self.b(x)

    with pytest.raises(BadInput, match="different paths in training"):
        gate(Auxiliary(), heads("ab"), at="layer")


def test_in_place_ops_change_what_later_readers_see_and_no_more() -> None:
    class InPlace(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            alias = x
            x.mul_(2)
            F.relu(x, True)
            y = self.b(x.clone())
            y += alias
            torch.relu_(y)
            y -= 1
            return nn.functional.leaky_relu(y, inplace=True)

    backbone = InPlace().eval()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    agrees_when_fresh(backbone, x)
    net = gate(backbone, heads("ab"), at="layer")
    assert not unused_parameters(net.double(), x)


def test_an_in_place_op_without_a_twin_is_refused() -> None:
    class Zeroing(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).zero_())

    with pytest.raises(BadInput, match="`zero_`"):
        gate(Zeroing(), heads("ab"), at="layer")


class Padding(Backbone):
    """Asks Python about sizes, as Swin does before it cuts windows."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 4 != 0:
            x = F.pad(x, (0, 4 - int(x.size(-1) % 4)))
        parts = [self.a(x)[:, :, i] for i in range(x.shape[2])]
        x = torch.stack(parts, 2)
        _, _, height, width = x.shape
        assert len(x.shape) == 4
        return self.b(x).reshape(-1, 4, height * width)


def test_example_inputs_answer_for_shapes() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    agrees_when_fresh(Padding().eval(), x, example_inputs=(torch.ones(1, 3, 4, 6),))
    net = scrambled(gate(Padding(), heads("ab"), at="layer", example_inputs=(x.float(),)))
    assert net(torch.randn(5, 3, 4, 6, dtype=torch.float64))["a"].shape == (5, 4, 32)


def test_without_example_inputs_the_line_is_named() -> None:
    with pytest.raises(BadInput, match=r"test_nn_trace.py:\d+ `if x.shape.*example_inputs"):
        gate(Padding(), heads("ab"), at="layer")


def test_example_inputs_that_do_not_fit_are_reported() -> None:
    with pytest.raises(BadInput, match="cannot be traced"):
        gate(Padding(), heads("ab"), at="layer", example_inputs=(torch.ones(1, 2, 4, 4),))


def test_control_flow_on_data_is_refused_with_example_inputs_too() -> None:
    class DataDependent(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(x) if x.sum() > 0 else x

    for example in (None, (torch.ones(1, 3, 4, 4),)):
        with pytest.raises(BadInput, match=r"test_nn_trace.py:\d+ `return self.b\(x\) if"):
            gate(DataDependent(), heads("ab"), at="layer", example_inputs=example)


def test_optional_and_several_inputs() -> None:
    class Optional(Backbone):
        def forward(
            self, x: Tensor, scale: Tensor, mask: Tensor | None = None, *, flag: bool = True
        ) -> Tensor:
            x = self.a(x) * scale
            if mask is not None:
                x = x * mask
            return self.b(x) if flag else x

    x, scale, mask = torch.randn(2, 3, 4, 4), torch.randn(4, 1, 1), torch.randn(4, 4)
    backbone = Optional().eval()
    plain = gate(backbone, heads("ab"), at="layer").eval()
    torch.testing.assert_close(plain(x, scale)["a"], backbone(x, scale))
    masked = gate(backbone, heads("ab"), at="layer", example_inputs=(x, scale, mask)).eval()
    torch.testing.assert_close(masked(x, scale, mask)["b"], backbone(x, scale, mask))


def test_variadic_inputs_are_refused() -> None:
    class Variadic(Backbone):
        def forward(self, *x: Tensor) -> Tensor:
            return self.a(x[0])

    with pytest.raises(BadInput, match="spelled out"):
        gate(Variadic(), heads("ab"), at="layer")


def test_buffers_constants_and_tied_weights() -> None:
    class Tied(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("offset", torch.randn(4, 1, 1))
            self.register_buffer("hidden", torch.randn(4, 1, 1), persistent=False)
            self.fc, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
            self.again.weight = self.fc.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x) + self.offset * self.hidden + torch.arange(4.0)
            x = self.again(self.fc(x.mean(2)))
            return F.linear(x, self.fc.weight)

    backbone = Tied().eval()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    agrees_when_fresh(backbone, x)
    net = gate(backbone, heads("ab"), at="layer")
    assert net.branches["a"].again.weight is net.branches["a"].fc.weight
    assert net.branches["a"].fc.weight is not net.branches["b"].fc.weight
    assert "branches.a.offset" in net.state_dict()
    assert "branches.a.hidden" not in net.state_dict()
    net.load_single_task("a", Tied().state_dict())
    assert not unused_parameters(net.double(), x)


def test_parameters_and_buffers_are_read_with_example_inputs_too() -> None:
    class Scaled(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(4, 1, 1))
            self.register_buffer("offset", torch.randn(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x) * self.scale + self.offset
            return self.b(x) if x.shape[-1] % 2 == 0 else x

    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    agrees_when_fresh(Scaled().eval(), x, example_inputs=(torch.ones(1, 3, 4, 4),))


def test_a_backbone_on_the_meta_device_is_gated() -> None:
    class Shifted(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) + self.offset)

    with torch.device("meta"):
        net = gate(Shifted(), heads("a"), at="layer")
        assert net(torch.empty(2, 3, 4, 4))["a"].is_meta


def test_tensors_made_with_traced_sizes() -> None:
    class Positions(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            rows = torch.arange(x.shape[2], dtype=x.dtype)[:, None]
            return self.b(x + rows * torch.full((x.shape[0], 1, 1, 1), 0.5, dtype=x.dtype))

    made = torch.arange
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for options in ({}, {"example_inputs": (torch.ones(1, 3, 4, 4),)}):
        agrees_when_fresh(Positions().eval(), x, **options)
        net = gate(Positions(), heads("a"), at="layer", **options).double().eval()
        assert net(torch.randn(5, 3, 6, 4, dtype=torch.float64))["a"].shape[:1] == (5,)
    assert torch.arange is made


def test_items_that_are_assigned_are_seen_by_later_readers_and_no_others() -> None:
    class Assigning(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            before = x + 0
            x[:, 1:, :2] = x[:, :3, 2:] * 2
            x[:, 0] += 1
            return self.b(x) + self.b(before)

    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for options in ({}, {"example_inputs": (torch.ones(1, 3, 4, 4),)}):
        agrees_when_fresh(Assigning().eval(), x, **options)
        net = gate(Assigning(), heads("ab"), at="layer", **options)
        assert not unused_parameters(net.double(), x)


def test_a_change_through_a_view_is_refused_where_it_would_be_missed() -> None:
    class ThroughView(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x[:, 0].mul_(2)
            return self.b(x)

    class OwnView(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).flip(2).transpose(2, 3).mul_(2))

    with pytest.raises(BadInput, match="through `getitem`"):
        gate(ThroughView(), heads("a"), at="layer")
    agrees_when_fresh(OwnView().eval(), torch.randn(2, 3, 4, 4, dtype=torch.float64))
