"""An axis is dynamic only where the program is the module; else it is fixed, and why is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igc
from igc.capture import capture
from igc.errors import BadInput
from igc.program import Program
from igc.program.execute import execute
from igc.program.fixed import fixed_axes

SHAPES = [(1, 3, 16, 16), (3, 3, 15, 13), (2, 3, 1, 1), (2, 3, 3, 3), (1, 3, 2, 5), (5, 3, 32, 24)]
Middle = Callable[[Tensor, Tensor], Tensor]


class Net(nn.Module):
    """A convolution, something that looks at sizes, and a head."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.middle = middle
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)
        self.register_buffer("gate", torch.tensor([1.0, 0, 1, 0, 1, 1, 0, 0]).view(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        found = self.middle(x, self.conv(x) * self.gate)
        return self.head(found.mean((2, 3))) if found.ndim == 4 else found


def batch_mean(x: Tensor, y: Tensor) -> Tensor:
    if x.shape[0] > 1:
        return y - y.mean(0, keepdim=True)
    return y


def one_row(x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if len(x) == 1 else y


def odd(x: Tensor, y: Tensor) -> Tensor:
    if x.shape[2] % 2:
        y = F.pad(y, (0, 0, 0, 1))
    return y


def window(x: Tensor, y: Tensor) -> Tensor:
    h, w = (-x.shape[2]) % 8, (-x.shape[3]) % 8
    if h or w:
        y = F.pad(y, (0, w, 0, h), value=1.0)
    return y


def always(x: Tensor, y: Tensor) -> Tensor:
    return F.pad(y, (0, (8 - x.shape[3] % 8) % 8, 0, (8 - x.shape[2] % 8) % 8), value=1.0)


def whole(x: Tensor, y: Tensor) -> Tensor:
    return F.interpolate(y, size=(int(x.shape[2]) * 2, int(x.shape[3]) * 2), mode="bilinear")


def rounded(x: Tensor, y: Tensor) -> Tensor:
    return y[:, :, : max(1, round(x.shape[2] * 0.5))]


def square(x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if x.shape[2] == x.shape[3] else y


def large(x: Tensor, y: Tensor) -> Tensor:
    return y * 2 if x.shape[2] * x.shape[3] > 500 else y


def rows(x: Tensor, y: Tensor) -> Tensor:
    for i in range(x.shape[2] // 4):
        y = y + i
    return y


def squeezed(x: Tensor, y: Tensor) -> Tensor:
    return y.mean((2, 3)).squeeze() + 0 * x.sum()


def grid(x: Tensor, y: Tensor) -> Tensor:
    return y * torch.arange(x.shape[3]) / x.shape[2]


def remainder(x: Tensor, y: Tensor) -> Tensor:
    return y[:, :, : x.shape[2] % 8 + 1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 3, 12, 10)], ids=str)
@pytest.mark.parametrize(
    "middle",
    [batch_mean, one_row, odd, window, always, whole, rounded, square, large, rows, squeezed, grid,
     remainder],
)  # fmt: skip
def test_right_at_every_size_or_the_size_is_refused(middle: Middle, shape: tuple[int, ...]) -> None:
    net = Net(middle).double().eval()
    static = igc.compile(net, torch.randn(shape, dtype=torch.float64))
    ran = 0
    for other in (shape, *SHAPES):
        x = torch.randn(other, dtype=torch.float64)
        if takes(static.program, x):
            torch.testing.assert_close(static(x), net(x), rtol=1e-10, atol=1e-12)
            ran += 1
        else:
            with pytest.raises(AssertionError, match="has to have"):
                static(x)
    assert ran


def takes(program: Program, x: Tensor) -> bool:
    (spec,) = program.inputs
    return all(isinstance(d, str) or d == n for d, n in zip(spec.dims, x.shape, strict=True))


@pytest.mark.parametrize(
    ("middle", "shape", "dims"),
    [
        (batch_mean, (1, 3, 16, 16), (1, 3, "height", "width")),
        (batch_mean, (4, 3, 16, 16), (4, 3, "height", "width")),
        (odd, (1, 3, 16, 16), ("batch", 3, 16, "width")),
        (window, (1, 3, 16, 16), ("batch", 3, 16, 16)),
        (window, (1, 3, 12, 12), ("batch", 3, "height", "width")),
        (always, (1, 3, 16, 16), ("batch", 3, "height", "width")),
        (square, (1, 3, 16, 16), ("batch", 3, 16, 16)),
        (grid, (1, 3, 16, 16), ("batch", 3, "height", "width")),
        (remainder, (2, 3, 16, 16), ("batch", 3, "height", "width")),
    ],
)
def test_no_more_axes_are_fixed_than_have_to_be(
    middle: Middle, shape: tuple[int, ...], dims: tuple[int | str, ...]
) -> None:
    # window at 12: a picture that is padded is padded right at each size; whole windows need none
    assert capture(Net(middle), torch.randn(shape)).inputs[0].dims == dims


def test_the_line_that_asked_is_said_everywhere(tmp_path: Path) -> None:
    net, x = Net(odd), torch.randn(2, 3, 16, 16)
    text = "input 'x' has to have 16 at axis 2: test_axes.py:"
    (fixed,) = fixed_axes(capture(net, x))
    assert str(fixed).startswith(text) and "if x.shape[2] % 2:" in str(fixed)
    igc.save(net, tmp_path / "g.pt", x)
    assert str(fixed) in igc.report(tmp_path / "g.pt").warnings
    made = igc.deliver(tmp_path / "g.pt", tmp_path / "m.onnx")
    assert made.passed and str(fixed) in made.checks["static"].notes
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 3, 16, "width"]
    loaded = igc.load(tmp_path / "g.pt")
    with pytest.raises(BadInput, match="expected batchx3x16xwidth"):
        loaded(torch.randn(2, 3, 15, 16))


def test_a_question_with_one_effect_fixes_nothing() -> None:
    def harmless(x: Tensor, y: Tensor) -> Tensor:
        return y.contiguous() if x.shape[2] % 2 else y

    program = capture(Net(harmless), torch.randn(1, 3, 8, 8))
    assert list(program.sizes) == ["batch", "height", "width"] and not fixed_axes(program)


def test_sizes_that_the_module_itself_refuses_prove_nothing() -> None:
    def strict(x: Tensor, y: Tensor) -> Tensor:
        assert x.shape[2] % 4 == 0, "not whole"
        return y

    assert capture(Net(strict), torch.randn(1, 3, 8, 8)).inputs[0].dims[2] == "height"


def test_a_capture_that_is_not_the_module_is_refused() -> None:
    def traced(x: Tensor, y: Tensor) -> Tensor:
        return y * 0.5 if torch.compiler.is_compiling() else y

    with pytest.raises(BadInput, match=r"what torch\.export captures is not what it computes"):
        capture(Net(traced), torch.randn(1, 3, 8, 8))


def test_two_inputs_of_which_one_is_asked() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.mean((1, 2, 3)) + (y.sum(1) if y.shape[0] > 2 else y.mean(1))

    program = capture(Two(), (torch.randn(1, 3, 8, 8), torch.randn(1, 4)))
    assert [spec.dims[0] for spec in program.inputs] == [1, 1]
    x, y = torch.randn(1, 3, 5, 6), torch.randn(1, 4)
    torch.testing.assert_close(execute(program, [x, y])[0], Two()(x, y))


def test_a_kernel_that_needs_a_number_is_named_by_the_line_that_calls_it() -> None:
    def ramp(x: Tensor, y: Tensor) -> Tensor:
        return y * torch.linspace(0, 1, x.shape[3])

    program = capture(Net(ramp), torch.randn(1, 3, 8, 8))
    assert program.inputs[0].dims == ("batch", 3, "height", 8)
    (fixed,) = fixed_axes(program)
    assert "return y * torch.linspace" in fixed.why


def test_sizes_that_differ_only_together_are_fixed_without_the_others() -> None:
    def fours(x: Tensor, y: Tensor) -> Tensor:
        try:
            return y.view(y.shape[0], y.shape[1], -1, 4).mean(-1, keepdim=True)
        except RuntimeError:  # not whole fours
            return y * 2

    assert capture(Net(fours), torch.randn(1, 3, 8, 8)).inputs[0].dims == ("batch", 3, 8, 8)
