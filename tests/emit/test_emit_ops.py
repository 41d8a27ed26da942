"""Every operation: the static module is bit for bit the program, and ONNX computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from emit_nets import Function, run
from op_cases import POINTWISE, SHAPING, TOKENS, WHOLE_AXES, Case
from torch import Tensor, nn

from igc.capture import capture
from igc.delivery import export_onnx
from igc.emit import emit
from igc.errors import BadInput, CheckFailed
from igc.program import Program


def _check(program: Program, inputs: tuple[Tensor, ...], folder: Path) -> None:
    static = emit(program)
    with torch.no_grad():
        got = torch.utils._pytree.tree_leaves(static(*inputs))
    for name, a, b in zip(program.outputs, got, run(program, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True, msg=name)
    info = export_onnx(static, folder / "op.onnx", simplify=False)
    assert info.route == "direct", info.reason


def _all(cases: dict[str, Case]) -> nn.Module:
    """All cases on one input: one output each, under its name."""
    return Function(lambda x: {name: case(x) for name, case in cases.items()})


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases", [POINTWISE, SHAPING, WHOLE_AXES], ids=["pointwise", "shaping", "whole_axes"]
)
def test_operations_on_images(cases: dict[str, Case], tmp_path: Path) -> None:
    x = torch.randn(2, 8, 16, 16)
    _check(capture(_all(cases), (x,)), (x,), tmp_path)


@pytest.mark.slow
def test_operations_on_tokens(tmp_path: Path) -> None:
    x = torch.randn(2, 6, 16)
    _check(capture(_all(TOKENS), (x,)), (x,), tmp_path)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv": (nn.Conv2d(4, 6, 3, 2, 1), (4, 9, 9)),
    "conv_bare": (nn.Conv2d(4, 6, (3, 1), bias=False, dilation=2), (4, 9, 9)),
    "conv_groups": (nn.Conv2d(4, 8, 3, groups=2), (4, 9, 9)),
    "conv_depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 9, 9)),
    "conv_same": (nn.Conv2d(4, 6, 4, padding="same"), (4, 9, 9)),
    "conv_reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 9, 9)),
    "conv_1d": (nn.Conv1d(4, 6, 3), (4, 9)),
    "conv_3d": (nn.Conv3d(2, 3, 2), (2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), (4, 5, 5)),
    "transposed_groups": (nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False), (4, 5, 5)),
    "transposed_1d": (nn.ConvTranspose1d(4, 6, 2, 2), (4, 5)),
    "linear": (nn.Linear(5, 3), (5,)),
    "linear_tokens": (nn.Linear(5, 3), (4, 5)),
    "linear_bare": (nn.Linear(5, 3, bias=False), (4, 5)),
    "batch_norm": (nn.BatchNorm2d(4, eps=1e-3), (4, 5, 5)),
    "batch_norm_bare": (nn.BatchNorm1d(4, affine=False), (4,)),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), (4, 5, 5)),
    "instance_norm_bare": (nn.InstanceNorm1d(4), (4, 5)),
    "group_norm": (nn.GroupNorm(2, 4), (4, 5, 5)),
    "group_norm_bare": (nn.GroupNorm(2, 4, affine=False), (4, 5)),
    "layer_norm": (nn.LayerNorm(5), (4, 5)),
    "layer_norm_unbiased": (nn.LayerNorm((4, 5), bias=False), (4, 5)),
    "layer_norm_bare": (nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "rms_norm": (nn.RMSNorm(5), (4, 5)),
    "prelu": (nn.PReLU(4), (4, 5, 5)),
    "adaptive": (nn.Sequential(nn.Linear(7, 7), nn.AdaptiveAvgPool1d(3)), (4, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    for value in [*layer.parameters(), *layer.buffers()]:
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5)
    x = torch.randn(2, *shape)
    _check(capture(Function(layer).eval(), (x,)), (x,), tmp_path)


KEPT = ("conv", "transposed", "linear", "batch_norm", "instance_norm", "group_norm", "layer_norm")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LAYERS if n.startswith(KEPT) and "reflect" not in n])
def test_layer_stays_the_module_it_was(name: str) -> None:
    layer, shape = LAYERS[name]
    static = emit(capture(Function(layer).eval(), (torch.randn(2, *shape),)))
    (made,) = static.children()
    assert type(made) is type(layer)
    assert made.extra_repr() == layer.extra_repr()
    assert {k: v.shape for k, v in made.state_dict().items()} == {
        k: v.shape for k, v in layer.state_dict().items()
    }


def test_embedding(tmp_path: Path) -> None:
    x = torch.randint(0, 2, (2, 5))
    program = capture(Function(nn.Embedding(7, 3)), (x,))
    assert isinstance(next(emit(program).children()), nn.Embedding)
    _check(program, (x,), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["meshgrid", "meshgrid_xy", "numel", "im2col", "col2im"])
def test_operations_on_sizes_known_later(case: str, tmp_path: Path) -> None:
    x = torch.randn(2, 8, 6, 10)
    program = capture(Function(SHAPING[case]), (x,))
    assert {"height", "width"} < set(program.sizes)
    _check(program, (x,), tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "op.onnx"))
    for height, width in ((6, 10), (7, 9)):
        other = torch.randn(3, 8, height, width)
        (found,) = session.run(None, {"x": other.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), SHAPING[case](other))


def test_padding_between_transposes(tmp_path: Path) -> None:
    """onnxruntime moves a transpose past a Pad, and goes wrong where that names its axes."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.before(x).permute(0, 2, 3, 1)
            return self.after(nn.functional.pad(y, (0, 0, 0, 1, 0, 1)).permute(0, 3, 1, 2))

    net, x = Padded().eval(), torch.randn(2, 3, 9, 9)
    _check(capture(net, (x,)), (x,), tmp_path)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "op.onnx")).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=1e-5, atol=1e-5)


POOLS = {
    "average": nn.functional.adaptive_avg_pool2d,
    "max": nn.functional.adaptive_max_pool2d,
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_uneven_adaptive_pooling(pool: Callable[..., Tensor], tmp_path: Path) -> None:
    """To bins of several sizes, of images whose sizes are fixed, half known, or known later."""

    def cases(x: Tensor) -> Any:
        fixed, half = x[..., :7, :9], x[..., :7]
        return pool(fixed, (3, 4)), pool(fixed, (7, 1)), pool(half, (2, 5)), pool(x, (3, 4))

    x = torch.randn(2, 3, 12, 10)
    _check(capture(Function(cases), (x,)), (x,), tmp_path)
    for height, width in ((12, 10), (7, 9), (12, 9)):
        other = torch.randn(3, 3, height, width)
        session = onnxruntime.InferenceSession(str(tmp_path / "op.onnx"))
        for a, b in zip(session.run(None, {"x": other.numpy()}), cases(other), strict=True):
            torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-5, atol=1e-6)


def test_uneven_pooling_is_no_product(tmp_path: Path) -> None:
    """An averaging matrix would count as MACs, which pooling has none of."""
    x = torch.randn(2, 3, 7, 9)
    program = capture(Function(lambda x: nn.functional.adaptive_avg_pool2d(x, (2, 4))), (x,))
    export_onnx(emit(program), tmp_path / "op.onnx")
    assert not {"MatMul", "Gemm"} & {n.op_type for n in onnx.load(tmp_path / "op.onnx").graph.node}


@pytest.mark.parametrize(
    "options", [{"scale_factor": 0.5}, {"size": (5, 3), "align_corners": True}]
)
def test_smooth_resizing_that_onnx_has_not_is_a_product_per_axis(
    options: dict[str, Any], tmp_path: Path
) -> None:
    x = torch.randn(2, 8, 16, 16)
    kind = {"mode": "bicubic", "antialias": True}
    program = capture(Function(lambda x: F.interpolate(x, **kind, **options)), (x,))
    info = export_onnx(emit(program), tmp_path / "op.onnx", simplify=False)
    assert info.route == "direct"


@pytest.mark.slow
def test_smooth_resizing_to_a_width_of_one_is_refused(tmp_path: Path) -> None:
    """torch gets it wrong, and nothing else computes the same."""
    x = torch.randn(2, 8, 16, 16)
    program = capture(
        Function(lambda x: F.interpolate(x, size=(3, 1), mode="bicubic", antialias=True)), (x,)
    )
    with pytest.raises((BadInput, CheckFailed), match=r"does not compute|every size"):
        export_onnx(emit(program), tmp_path / "op.onnx", simplify=False)
    assert not list(tmp_path.iterdir())
