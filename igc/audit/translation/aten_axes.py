"""The gated network's operations over whole axes."""

from __future__ import annotations

from typing import Any

import sympy
from torch import fx

from igc.audit.translation.gated import Gated, Rule
from igc.audit.translation.terms import NotShown
from igc.audit.translation.value import Value
from igc.program.schema import op_name


def _axes(x: Value, dim: Any) -> list[int]:
    asked = [dim] if isinstance(dim, int) else list(dim or range(len(x.axes)))
    return sorted(d % len(x.axes) for d in asked)


def _reduce(kind: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x = at.tensor(args["self"])
        made = at.on.reduced(x, kind, _axes(x, args.get("dim")), bool(args.get("keepdim")))
        if op_name(node) in ("max", "min") and args.get("dim") is not None:
            return made, None
        return made

    return rule


def _spread(root: bool) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x = at.tensor(args["self"])
        axes, keep = _axes(x, args.get("dim")), bool(args.get("keepdim"))
        correction = args.get("correction", int(args.get("unbiased", True)))
        correction = 1 if correction is None else correction
        count = sympy.sympify(sympy.prod([x.size(a) for a in axes]))
        if not count.is_Integer:
            raise NotShown("a variance of an unknown number of entries")
        centred = at.on.add(x, at.on.reduced(x, "mean", axes, True), by=[1.0, -1.0])
        mean = at.on.reduced(at.on.value(at.on.mul(centred, centred)), "mean", axes, keep)
        made = at.on.scale(mean, int(count) / (int(count) - correction))
        return at.on.apply("sqrt", made) if root else made

    return rule


def _softmax(kind: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x = at.tensor(args["self"])
        return at.on.softmax(x, args["dim"] % len(x.axes), kind)

    return rule


def _arg(kind: str) -> Rule:
    def rule(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
        x = at.tensor(args["self"])
        if args["dim"] is None:
            raise NotShown("over all entries")
        return at.on.opened((kind,), x, args["dim"] % len(x.axes), True, bool(args["keepdim"]))

    return rule


def _norm(at: Gated, node: fx.Node, args: dict[str, Any]) -> Any:
    x = at.tensor(args["self"])
    kind = {1.0: "l1", 2.0: "l2"}.get(float(args["ord"]))
    if kind is None:
        raise NotShown(f"the norm of order {args['ord']}")
    return at.on.reduced(x, kind, _axes(x, args["dim"]), bool(args["keepdim"]))


RULES: dict[str, Rule] = {
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "amax": _reduce("largest"),
    "amin": _reduce("smallest"),
    "max": _reduce("largest"),
    "min": _reduce("smallest"),
    "prod": _reduce("prod"),
    "logsumexp": _reduce("logsumexp"),
    "linalg_vector_norm": _norm,
    "var": _spread(False),
    "std": _spread(True),
    **dict.fromkeys(("softmax", "_softmax"), _softmax("softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _softmax("log softmax")),
    "argmax": _arg("argmax"),
    "argmin": _arg("argmin"),
}
