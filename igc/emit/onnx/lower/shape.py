"""ONNX for axes permuted, split, merged, added, dropped, expanded."""

from __future__ import annotations

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.program.schema import bind


def _reshape(at: Lowering, node: fx.Node) -> str:
    return at.reshape(bind(node)["self"], node)


def _permute(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    rank = at.rank(args["self"])
    return at.op("Transpose", at(args["self"]), perm=[d % rank for d in args["dims"]])


def _transpose(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    order = list(range(at.rank(args["self"])))
    if "dim0" in args:
        a, b = (at.axis(args["self"], args[k]) for k in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return at.op("Transpose", at(args["self"]), perm=order)


def _unsqueeze(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    axis = args["dim"] % at.rank(node)
    return at.op("Unsqueeze", at(args["self"]), at.graph.integers([axis], "axes"))


def _squeeze(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value = args["self"]
    asked = args.get("dim", range(at.rank(value)))
    axes = [at.axis(value, d) for d in (asked if not isinstance(asked, int) else [asked])]
    gone = sorted(a for a in set(axes) if at.static(value, a) == 1)
    if at.rank(value) - len(gone) != at.rank(node):
        raise Unsupported("what is squeezed depends on the input size")
    return at.op("Squeeze", at(value), at.graph.integers(gone, "axes")) if gone else at(value)


def _expand(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    sizes = [1 if isinstance(s, int) and s == -1 else s for s in args["size"]]
    return at.op("Expand", at(args["self"]), at.shape(sizes))


RULES: dict[str, Rule] = {
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
}
