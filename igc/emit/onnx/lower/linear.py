"""ONNX for matrix products."""

from __future__ import annotations

from torch import fx

from igc.emit.onnx.lower.context import Lowering, Rule, Unsupported
from igc.program.schema import bind, op_name


def _linear(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    value, weight, bias = args["input"], args["weight"], args["bias"]
    if at.rank(weight) != 2:
        raise Unsupported("linear with a weight that is no matrix")
    if at.rank(value) == 2:
        return at.op("Gemm", at(value), at(weight), at.optional(bias), transB=1)
    product = at.op("MatMul", at(value), _transposed(at, weight))
    return product if bias is None else at.op("Add", product, at(bias))


def _transposed(at: Lowering, weight: fx.Node) -> str:
    """The transposed weight, stored that way where nothing reads it as it is."""
    constant = at.tensor_of(weight)
    readers = {
        user
        for n in at.program.graph.nodes
        if n.op == "get_attr" and n.target == weight.target
        for user in n.users
    }
    if constant is None or not all(_multiplies(at, user, weight) for user in readers):
        return at.op("Transpose", at(weight), perm=(1, 0))
    return at.graph.tensor(constant.t(), f"{weight.target}_transposed")


def _multiplies(at: Lowering, user: fx.Node, weight: fx.Node) -> bool:
    """Whether `user` is a linear call on a tensor of more than two axes, with this weight."""
    if user.op != "call_function" or op_name(user) != "linear":
        return False
    args = bind(user)
    own = args["weight"].target == weight.target
    return own and args["bias"] is not weight and at.rank(args["input"]) != 2


def _matmul(at: Lowering, node: fx.Node) -> str:
    args = list(bind(node).values())
    return at.op("MatMul", at(args[0]), at(args[1]))


def _addmm(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    left, right = at(args["mat1"]), at(args["mat2"])
    if at.dtype(node).is_floating_point:
        scale = {"alpha": float(args["alpha"]), "beta": float(args["beta"])}
        return at.op("Gemm", left, right, at(args["self"]), **scale)
    raise Unsupported("addmm of integers")


def _baddbmm(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    product = at.op("MatMul", at(args["batch1"]), at(args["batch2"]))
    start = at(args["self"])
    if args["alpha"] != 1:
        product = at.op("Mul", product, at.scalar(args["alpha"], dtype))
    if args["beta"] != 1:
        start = at.op("Mul", start, at.scalar(args["beta"], dtype))
    return at.op("Add", start, product)


def _outer(at: Lowering, node: fx.Node) -> str:
    args = bind(node)
    left = at.op("Unsqueeze", at(args["self"]), at.graph.integers([1], "axes"))
    return at.op("Mul", left, at(args["vec2"]))


def _cross(at: Lowering, node: fx.Node) -> str:
    args, dtype = bind(node), at.dtype(node)
    axis = at.axis(node, args["dim"])
    turns = [at.graph.integers(order, "index") for order in ([1, 2, 0], [2, 0, 1])]
    a, b = (
        [at.op("Gather", at.operand(args[k], dtype), turn, axis=axis) for turn in turns]
        for k in ("self", "other")
    )
    return at.op("Sub", at.op("Mul", a[0], b[1]), at.op("Mul", a[1], b[0]))


RULES: dict[str, Rule] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matmul),
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "outer": _outer,
    "linalg_cross": _cross,
}
