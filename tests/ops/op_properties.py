"""What must hold for a rule and any call of its op; each check raises where it does not.

*nudge*    what the rule says is not read can change without moving the output
*slice*    the sliced op gives the same numbers as slicing the op's output, at every dynamic size
*known*    channels that the rule says are constant are that constant
*exact*    what the rule says is read does move the output, channel by channel
*fixed*    an axis that the rule keeps whole mixes its entries, so that cutting it would be wrong

Exactness has limits (`igc.ops.limits`), each with its reason; a call says which one it touches.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from op_calls import Setting, box, forms_of, op_node, program_of
from op_limits import excused, may_be_opaque
from torch import Tensor

from igc.analysis.liveness import liveness
from igc.ops import TABLE, Facts
from igc.ops.facts import kinds
from igc.ops.relations import Blocks, Mixing, Opaque, Pointwise, Relation, Select
from igc.passes import Record
from igc.passes.slicing.slice_channels import SliceChannels
from igc.program import Program
from igc.program.execute import execute
from igc.program.lint import lint
from igc.program.shapes import other_sizes

TRIES = 60  # until a channel that moves nothing counts as one that is not read
ODD = {"aten.isnan.default": torch.nan, "aten.isfinite.default": torch.nan,
       "aten.isinf.default": torch.inf}  # fmt: skip


def same(a: Tensor, b: Tensor) -> bool:
    """Bit equality, where every NaN equals every NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def close(found: Tensor, expected: Tensor, bound: float = 1e-10) -> bool:
    """Agreement relative to the largest number expected."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    finite = torch.isfinite(expected)
    if not same(found[~finite], expected[~finite]):
        return False
    if not expected.dtype.is_floating_point or not finite.any():
        return same(found, expected)
    error = (found[finite] - expected[finite]).abs().max()
    return bool(error <= bound * expected[finite].abs().max().clamp_min(1e-30))


def reads(program: Program) -> list[Tensor]:
    """For every input, the elements that the program reads according to the rules."""
    live = liveness(forms_of(program))
    found = []
    for node, spec in zip(program.placeholders, program.inputs, strict=True):
        shape = spec.shape(program.sizes)
        read = torch.zeros(shape, dtype=torch.bool)
        for user, masks in live.readers.get(node, ()):
            if user.op != "output":
                read |= box(masks, shape)
        found.append(read)
    return found


def check_nudge(setting: Setting) -> None:
    """What is not read may change."""
    program = program_of(setting)
    inputs, other = setting.inputs(), setting.inputs(setting.seed + 1)
    nudged = [torch.where(r, x, y) for r, x, y in zip(reads(program), inputs, other, strict=True)]
    (before,), (after,) = execute(program, inputs), execute(program, nudged)
    assert same(before, after), f"what {setting.op} is said not to read moves its output"


def check_slice(setting: Setting) -> None:
    """Slice then run equals run then slice, at two settings of the dynamic sizes."""
    program = program_of(setting)
    sliced = SliceChannels()(program, Record())
    lint(sliced, "slice")
    settings = [program.sizes, other_sizes(program)] if program.sizes else [{}]
    for sizes in settings:
        inputs = setting.inputs(sizes=sizes or None)
        (expected,), (found,) = execute(program, inputs), execute(sliced, inputs)
        assert close(found, expected), f"{setting.op} sliced differs at sizes {sizes}"


def check_known(setting: Setting) -> None:
    """Channels with a known value have it, and a constant is not made of nothing."""
    setting = replace(setting, keep=())
    program = program_of(setting)
    node = op_node(program, setting.op)
    form = forms_of(program).form.get(node)
    if form is None or form.axis is None or form.gains:
        return
    (out,) = execute(program, setting.inputs())
    for channel in np.flatnonzero(form.constant):
        value = out.select(form.axis, int(channel))
        claimed = torch.full_like(value, float(form.shift[channel]))
        assert close(value, claimed, 1e-12), f"{setting.op}: channel {channel} is not constant"


def check_exact(setting: Setting) -> None:
    """No channel is read, and no axis kept whole, without need."""
    bare = program_of(replace(setting, keep=()))
    node = op_node(bare, setting.op)
    forms = forms_of(bare)
    if not forms.facts.is_tensor(node):
        return
    rule = forms.relations[node]
    assert isinstance(rule, kinds(TABLE[str(setting.op)])), f"{setting.op} is not a {type(rule)}"
    if isinstance(rule, Opaque):
        assert may_be_opaque(setting), f"{setting.op} is opaque without need: {rule.reason}"
        return
    fixed, dynamic = fixed_axes(rule), forms.facts.dynamic(node)
    keep = tuple(None if a in fixed or dynamic[a] else k for a, k in enumerate(setting.keep))
    setting = replace(setting, keep=keep)
    program = program_of(setting) if any(keep) else bare
    for i, read in enumerate(reads(program)):
        for axis, claimed in enumerate(projections(read)):
            if excused(setting, rule, i, axis):
                continue
            for channel in np.flatnonzero(claimed):
                assert moves(setting, program, i, axis, int(channel)), (
                    f"{setting.op} does not read channel {channel} of axis {axis} of input {i}"
                )
    for axis in fixed:
        if not dynamic[axis] and not excused(setting, rule, None, axis):
            _check_mixes(setting, bare, axis, forms.facts.shape(node)[axis])


def fixed_axes(rule: Relation) -> frozenset[int]:
    """The output axes that a relation keeps whole."""
    rule = rule.written if isinstance(rule, Select) else rule
    return rule.fixed if isinstance(rule, (Pointwise, Mixing, Blocks)) else frozenset()


def projections(read: Tensor) -> list[NDArray[np.bool_]]:
    """Which channels of each axis hold any element that is read."""
    array = read.numpy()
    axes = range(array.ndim)
    return [array.any(axis=tuple(b for b in axes if b != a)) for a in axes]


def moves(
    setting: Setting,
    program: Program,
    number: int,
    axis: int,
    channel: int,
    only: tuple[int, int] | None = None,
) -> bool:
    """Whether other numbers in one channel of an input ever change the output.

    `only` looks at one channel (axis, number) of the output.
    """
    factor = ODD.get(str(setting.op), 1)
    for seed in range(setting.seed, setting.seed + TRIES):
        base, other = setting.inputs(seed), setting.inputs(seed + 1)
        nudged = [x.clone() for x in base]
        new = other[number].select(axis, channel)
        nudged[number].select(axis, channel).copy_(new if factor == 1 else new * factor)
        (before,), (after,) = execute(program, base), execute(program, nudged)
        if only is not None:
            before, after = before.select(*only), after.select(*only)
        if not same(before, after):
            return True
    return False


def _check_mixes(setting: Setting, program: Program, axis: int, size: int) -> None:
    """An output axis is not one that could follow an axis of the operands."""
    ends = sorted({0, size - 1})
    follows = []
    for i, spec in enumerate(setting.call.inputs):
        same_size = [a for a, n in enumerate(spec.shape) if n == size > 1]
        alone = [
            a
            for a in same_size
            if all(
                moves(setting, program, i, a, c, (axis, j)) == (c == j) for j in ends for c in ends
            )
        ]
        follows += [bool(alone)] if same_size else []
    assert not follows or not all(follows), f"{setting.op}: axis {axis} could follow its operands"


def is_legal(setting: Setting) -> bool:
    """Whether the call runs at both settings of its dynamic sizes, on meta tensors too."""
    program = program_of(setting)
    try:
        Facts.of(program)
        execute(program, setting.inputs(sizes=other_sizes(program)))
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError):
        return False
    return True
