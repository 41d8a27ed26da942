"""Whether a file that torch wrote takes the sizes that it says it takes.

torch.onnx.export writes some operations for the sizes of the example, and says nothing: a pool to
half of a height becomes one with a kernel of two. So its files are run beside the network, at sizes
that the example's do not tell.
"""

from __future__ import annotations

from pathlib import Path

import torch

from igc.errors import BadInput, one_line
from igc.onnx_files.session import run_bounded, session
from igc.program import Program
from igc.program.execute import execute
from igc.program.shapes import at_points

ROUGHLY = 1e-2  # of the largest value: this looks for other entries, not for rounding


def check_every_size(program: Program, path: Path, names: tuple[str, ...], reason: str) -> None:
    """Raises `BadInput` where the file at `path` is wrong at a size that the network takes.

    Fractions are drawn, other inputs are zeros. `reason` is why torch wrote the file.
    """
    points = [sizes for sizes, _ in at_points(program)][1:]
    if not points:
        return
    file = session(path)
    generator = torch.Generator().manual_seed(0)
    for sizes in points:
        inputs = []
        for spec in program.inputs:
            drawn = torch.randn(spec.shape(sizes), generator=generator)
            inputs.append(drawn.to(spec.dtype) if spec.dtype.is_floating_point
                          else torch.zeros(drawn.shape, dtype=spec.dtype))  # fmt: skip
        feed = {n: x.numpy() for n, x in zip(names, inputs, strict=True)}
        try:
            with torch.no_grad():
                wanted = execute(program, inputs)
            got = run_bounded(file, program.outputs, feed)
        except Exception as error:  # onnxruntime raises many kinds
            raise _refused(reason, sizes, one_line(error, 200)) from error
        for value, found in zip(wanted, got, strict=True):
            if tuple(value.shape) != found.shape:
                raise _refused(reason, sizes, f"{found.shape} where {tuple(value.shape)} is right")
            exact, near = value.double(), torch.from_numpy(found).double()
            scale = float(exact.abs().nan_to_num().max()) if exact.numel() else 0.0
            if not torch.allclose(near, exact, rtol=0, atol=ROUGHLY * scale, equal_nan=True):
                raise _refused(reason, sizes, "other values")


def _refused(reason: str, sizes: dict[str, int], found: str) -> BadInput:
    at = ", ".join(f"{name} {size}" for name, size in sizes.items())
    return BadInput(
        f"cannot be written as ONNX for every size: {reason}; what torch.onnx.export makes of it "
        f"gives {found} at {at}; write this layer with other operations"
    )
