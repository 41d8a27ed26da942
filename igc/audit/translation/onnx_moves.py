"""ONNX operators of arithmetic, and those that move entries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import sympy
import torch
from onnx.helper import tensor_dtype_to_np_dtype

from igc.audit.translation.file import (
    END,
    FLOATS,
    Call,
    Entry,
    File,
    Rule,
    Sizes,
    listed,
    numbers,
    sizes_of,
    told,
)
from igc.audit.translation.idioms import (
    cast_between,
    lookup,
    pixel_shuffle,
    tiled,
)
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import (
    Known,
    Value,
    permuted,
    quotient,
    reshaped,
    tidy,
)


def _arithmetic(at: File, call: Call) -> Any:
    kind = call.node.op_type
    a, b = call.inputs
    if sizes_of(call):
        x, y = a.array.astype(object), b.array.astype(object)
        if kind in ("Div", "Mod"):
            pairs = np.broadcast_arrays(x, y)
            how = quotient if kind == "Div" else sympy.Mod
            return Sizes(np.vectorize(how, otypes=[object])(*pairs))
        return Sizes({"Add": x + y, "Sub": x - y, "Mul": x * y}[kind] if kind != "Mul" else x * y)
    whole = call.types[0] not in FLOATS
    if kind == "Mul":
        return at.on.mul(a, b)
    if kind == "Div":
        if whole:
            raise NotShown("a division of whole numbers")
        return at.on.div(a, b)
    return at.on.add(a, b, by=[1.0, 1.0 if kind == "Add" else -1.0])


def _neg(at: File, call: Call) -> Any:
    return at.on.scale(call.inputs[0], -1.0)


def _clip(at: File, call: Call) -> Any:
    bounds = [numbers(call.operand(i)) for i in (1, 2)]
    given = tuple(None if b is None else told(float(b)) for b in bounds)
    return at.on.apply("clip", call.inputs[0], attributes=given)


def _fixed(name: str, **wanted: float) -> Rule:
    """An activation whose attributes have to be these numbers."""

    def rule(at: File, call: Call) -> Any:
        for key, number in wanted.items():
            if not math.isclose(call.get(key, math.nan), number, rel_tol=1e-7):
                raise NotShown(f"the number '{key}'")
        return at.on.apply(name, call.inputs[0])

    return rule


def _where(at: File, call: Call) -> Any:
    return at.on.where(*call.inputs)


def _cast(at: File, call: Call) -> Any:
    x, to = call.inputs[0], call.get("to", 0)
    if isinstance(x, Sizes):
        return x
    if isinstance(x, Known):
        return Known(x.array.astype(tensor_dtype_to_np_dtype(to)))
    own = torch.float32  # stands for the network's type on both sides
    kinds = [own if t == at.own else TORCH.get(t, t) for t in (call.types[0], to)]
    return cast_between(at.on, x, kinds[0], kinds[1], own)


TORCH = {
    onnx.TensorProto.FLOAT: "torch.float32", onnx.TensorProto.DOUBLE: "torch.float64",
    onnx.TensorProto.FLOAT16: "torch.float16", onnx.TensorProto.BFLOAT16: "torch.bfloat16",
    onnx.TensorProto.INT64: "torch.int64", onnx.TensorProto.INT32: "torch.int32",
    onnx.TensorProto.BOOL: "torch.bool", onnx.TensorProto.UINT8: "torch.uint8",
}  # fmt: skip


def _identity(at: File, call: Call) -> Any:
    return call.inputs[0]


def _reshape(at: File, call: Call) -> Any:
    x = call.inputs[0]
    wanted = listed(call.inputs[1])
    if isinstance(x, (Known, Sizes)):
        return type(x)(x.array.reshape([int(w) for w in wanted]))
    zero = call.get("allowzero", 0)
    sizes = [x.size(a) if w == 0 and not zero else w for a, w in enumerate(wanted)]
    return reshaped(at.on.store, x, sizes)


def _transpose(at: File, call: Call) -> Any:
    x = call.inputs[0]
    rank = x.array.ndim if isinstance(x, Known) else len(x.axes)
    order = call.get("perm", list(range(rank))[::-1])
    return Known(x.array.transpose(order)) if isinstance(x, Known) else permuted(x, order)


def _unsqueeze(at: File, call: Call) -> Any:
    x, axes = call.inputs[0], [int(a) for a in listed(call.inputs[1])]
    if isinstance(x, (Known, Sizes)):
        return type(x)(np.expand_dims(x.array, tuple(axes)))
    rank = len(x.axes) + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = Value((*x.axes[:axis], (), *x.axes[axis:]), x.ids)
    return x


def _squeeze(at: File, call: Call) -> Any:
    x = call.inputs[0]
    if isinstance(x, (Known, Sizes)):
        return type(x)(np.squeeze(x.array))
    x = tidy(x)
    gone = {int(a) % len(x.axes) for a in listed(call.inputs[1])}
    if any(x.axes[a] for a in gone):
        raise NotShown("an axis of more than one entry is dropped")
    return Value(tuple(axis for a, axis in enumerate(x.axes) if a not in gone), x.ids)


def _expand(at: File, call: Call) -> Any:
    return at.on.expanded(call.inputs[0], listed(call.inputs[1]))


def _tile(at: File, call: Call) -> Any:
    return tiled(at.on, at.value(call.inputs[0]), listed(call.inputs[1]))


def _concat(at: File, call: Call) -> Any:
    axis = call.get("axis", 0)
    if sizes_of(call):
        return Sizes(np.concatenate([v.array.astype(object) for v in call.inputs], axis))
    first = next((v for v in call.inputs if isinstance(v, Value)), None)
    rank = call.inputs[0].array.ndim if first is None else len(first.axes)
    return at.on.concat(call.inputs, axis % rank)


def _slice(at: File, call: Call) -> Any:
    x = call.inputs[0]
    starts, ends = listed(call.inputs[1]), listed(call.inputs[2])
    axes = listed(call.operand(3)) if call.operand(3) is not None else list(range(len(starts)))
    steps = listed(call.operand(4)) if call.operand(4) is not None else [1] * len(starts)
    if isinstance(x, (Known, Sizes)):
        place: list[Any] = [slice(None)] * x.array.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            place[int(axis)] = slice(start, None if abs(end) >= END else end, step)
        return type(x)(x.array[tuple(place)])
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = int(axis) % len(x.axes)
        far = isinstance(end, int) and abs(end) >= END
        if step == -1 and start == -1 and far:
            size = x.size(axis)
            x = (at.on.take(x, axis, np.arange(int(size))[::-1]) if size.is_Integer
                 else at.on.along(("flip",), x, axis))  # fmt: skip
        else:
            x = at.on.slice(x, axis, start, None if far else end, int(step))
    return x


def _gather(at: File, call: Call) -> Any:
    x, index = call.inputs
    axis = call.get("axis", 0)
    if isinstance(x, Sizes):
        return Sizes(np.asarray(np.take(x.array, index.array.astype(int), axis=axis), dtype=object))
    if isinstance(x, Known) and isinstance(index, Known):
        return Known(np.take(x.array, index.array.astype(int), axis=axis))
    if isinstance(x, Known) and axis == 0 and x.array.ndim == 2:
        return lookup(at.on, x.numbers, at.value(index))
    if not isinstance(index, Known):
        raise NotShown("places that the input gives")
    return at.on.take(x, axis % len(x.axes), index.array.astype(np.int64))


def _split(at: File, call: Call) -> Any:
    x = at.value(call.inputs[0])
    axis = call.get("axis", 0) % len(x.axes)
    size = int(x.size(axis))
    if call.operand(1) is not None:
        widths = [int(w) for w in listed(call.operand(1))]
    else:
        count = call.get("num_outputs", len(call.node.output))
        step = -(-size // count)
        widths = [min(step, size - s) for s in range(0, size, step)]
    if sum(widths) != size:
        raise NotShown("parts of another width")
    ends = np.cumsum(widths).tolist()
    return tuple(at.on.slice(x, axis, e - w, e) for w, e in zip(widths, ends, strict=True))


def _shape(at: File, call: Call) -> Any:
    x = call.inputs[0]
    if isinstance(x, Known):
        sizes = list(x.array.shape)
    else:
        sizes = [x.size(a) for a in range(len(x.axes))]
    part = sizes[call.get("start", 0) : call.get("end", None)]
    if all(isinstance(s, int) or s.is_Integer for s in part):
        return Known(np.array([int(s) for s in part], dtype=np.int64))
    return Sizes(np.array(part, dtype=object))


def _pad(at: File, call: Call) -> Any:
    x = at.value(call.inputs[0])
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate",
            "wrap": "circular"}.get(call.get("mode", "constant"), "")  # fmt: skip
    pads = [int(p) for p in listed(call.inputs[1])]
    rank = len(x.axes)
    if len(pads) != 2 * rank or call.operand(3) is not None or not mode:
        raise NotShown("padding of some axes")
    fill = 0.0 if call.operand(2) is None else float(numbers(call.operand(2)))
    return at.on.padded(x, mode, list(zip(pads[:rank], pads[rank:], strict=True)), fill)


def _depth_to_space(at: File, call: Call) -> Any:
    if call.get("mode", "DCR") != "CRD":
        raise NotShown("the depth first")
    return pixel_shuffle(at.on, at.value(call.inputs[0]), call.get("blocksize", 1))


RULES: dict[str, Entry] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), (_arithmetic, ())),
    "Neg": (_neg, ()),
    "Clip": (_clip, ()),
    "HardSigmoid": (_fixed("hardsigmoid", alpha=1 / 6, beta=0.5), ("alpha", "beta")),
    "Selu": (
        _fixed("selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
        ("alpha", "gamma"),
    ),
    "Where": (_where, ()),
    "Cast": (_cast, ("to",)),
    "Identity": (_identity, ()),
    "Reshape": (_reshape, ("allowzero",)),
    "Transpose": (_transpose, ("perm",)),
    "Unsqueeze": (_unsqueeze, ()),
    "Squeeze": (_squeeze, ()),
    "Expand": (_expand, ()),
    "Tile": (_tile, ()),
    "Concat": (_concat, ("axis",)),
    "Slice": (_slice, ()),
    "Gather": (_gather, ("axis",)),
    "Split": (_split, ("axis", "num_outputs")),
    "Shape": (_shape, ("start", "end")),
    "Pad": (_pad, ("mode",)),
    "DepthToSpace": (_depth_to_space, ("blocksize", "mode")),
}
