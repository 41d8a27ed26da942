"""Which calls become ordinary `nn` modules: data about the module, or None to stay a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from igc.emit.torch.literals import scalar
from igc.program.schema import bind, operation
from igc.program.shapes import Value

Facts = Mapping[fx.Node, Value]


@dataclass(frozen=True)
class Layer:
    """One module: its class in `torch.nn`, constructor arguments, and which constant is what.

    `args` and `kwargs` hold plain values only; `tensors` maps the module's own tensor names
    (`weight`, `running_mean`, ...) to names in `Program.constants`.
    """

    kind: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    tensors: tuple[tuple[str, str], ...]

    def build(self) -> nn.Module:
        """The module, on the meta device: its tensors have shapes and no memory."""
        module: nn.Module = getattr(nn, self.kind)(*self.args, **dict(self.kwargs), device="meta")
        return module

    @property
    def text(self) -> str:
        """The module as source, such as `nn.Conv2d(3, 16, 3, padding=1)`."""
        parts = [_text(a) for a in self.args] + [f"{k}={_text(v)}" for k, v in self.kwargs]
        return f"nn.{self.kind}({', '.join(parts)})"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        inner = ", ".join(scalar(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return scalar(value)


Rule = Callable[[dict[str, Any], Mapping[str, Tensor], Facts], Layer | None]


def layer_for(node: fx.Node, constants: Mapping[str, Tensor], facts: Facts) -> Layer | None:
    """The module that does what `node` does, where all its tensors are constants of their own."""
    if node.op != "call_function":
        return None
    rule = RULES.get(operation(node))
    return rule(bind(node), constants, facts) if rule is not None else None


def input_of(node: fx.Node) -> fx.Node:
    """The operand that the module is called on."""
    args = bind(node)
    value = args["indices"] if "indices" in args else args["input"]
    assert isinstance(value, fx.Node)
    return value


def _names(args: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, str] | None:
    """Constant names of the given arguments, absent ones left out; None if one is no constant."""
    found: dict[str, str] = {}
    for own, argument in wanted.items():
        value = args[argument]
        if value is None:
            continue
        if not isinstance(value, fx.Node) or value.op != "get_attr":
            return None
        found[own] = str(value.target)
    return found


def _layer(
    kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Mapping[str, str]
) -> Layer:
    return Layer(kind, args, tuple(kwargs.items()), tuple(tensors.items()))


def _short(values: Any) -> Any:
    """A single number where all entries are the same, a tuple otherwise."""
    entries = tuple(values) if isinstance(values, (list, tuple)) else (values,)
    return entries[0] if len(set(entries)) == 1 else entries


def _spread(args: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The named arguments that differ from their usual value."""
    short = {k: _short(args[k]) for k in defaults}
    return {k: v for k, v in short.items() if v != defaults[k]}


def _plain(args: Mapping[str, Any], *names: str) -> bool:
    """Whether the named arguments hold numbers only."""
    return not any(isinstance(v, fx.Node) for n in names for v in _flat(args[n]))


def _flat(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _conv(kind: str = "") -> Rule:
    def rule(args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts) -> Layer | None:
        names = _names(args, {"weight": "weight", "bias": "bias"})
        if names is None or not _plain(args, "stride", "padding", "dilation", "groups"):
            return None
        weight = constants[names["weight"]]
        if len(facts[args["input"]].dims) != weight.ndim:
            return None
        kwargs = _spread(args, {"stride": 1, "padding": 0, "dilation": 1, "groups": 1})
        if "bias" not in names:
            kwargs["bias"] = False
        width = weight.shape[1] * args["groups"]
        kernel = _short(tuple(weight.shape[2:]))
        name = kind or f"Conv{weight.ndim - 2}d"
        return _layer(name, (width, weight.shape[0], kernel), kwargs, names)

    return rule


def _conv_transpose(kind: str) -> Rule:
    def rule(args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts) -> Layer | None:
        names = _names(args, {"weight": "weight", "bias": "bias"})
        defaults = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
        if names is None or not _plain(args, *defaults):
            return None
        weight = constants[names["weight"]]
        if len(facts[args["input"]].dims) != weight.ndim:
            return None
        kwargs = _spread(args, defaults)
        if "bias" not in names:
            kwargs["bias"] = False
        width = weight.shape[1] * args["groups"]
        kernel = _short(tuple(weight.shape[2:]))
        return _layer(kind, (weight.shape[0], width, kernel), kwargs, names)

    return rule


def _linear(args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts) -> Layer | None:
    names = _names(args, {"weight": "weight", "bias": "bias"})
    if names is None or constants[names["weight"]].ndim != 2:
        return None
    if not all(constants[names["weight"]].shape):
        return None
    out, width = constants[names["weight"]].shape
    return _layer("Linear", (width, out), {} if "bias" in names else {"bias": False}, names)


def _numbered(name: str, rank: int) -> str | None:
    """BatchNorm1d and its like by the rank of their input."""
    return {2: f"{name}1d", 3: f"{name}1d", 4: f"{name}2d", 5: f"{name}3d"}.get(rank)


def _batch_norm(
    args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts
) -> Layer | None:
    names = _names(args, {k: k for k in ("weight", "bias", "running_mean", "running_var")})
    kind = _numbered("BatchNorm", len(facts[args["input"]].dims))
    if names is None or kind is None or args["training"]:
        return None
    if "running_mean" not in names or "running_var" not in names:
        return None
    if ("weight" in names) != ("bias" in names):
        return None
    kwargs = _spread(args, {"eps": 1e-5, "momentum": 0.1})
    if "weight" not in names:
        kwargs["affine"] = False
    return _layer(kind, (constants[names["running_mean"]].numel(),), kwargs, names)


def _instance_norm(
    args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts
) -> Layer | None:
    names = _names(args, {k: k for k in ("weight", "bias")})
    rank = len(facts[args["input"]].dims)
    kind = _numbered("InstanceNorm", rank)
    if names is None or kind is None or rank < 3:
        return None
    if not args["use_input_stats"] or args["running_mean"] is not None or len(names) == 1:
        return None
    kwargs = _spread(args, {"eps": 1e-5})
    if names:
        kwargs["affine"] = True
    return _layer(kind, (facts[args["input"]].dims[1],), kwargs, names)


def _group_norm(
    args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts
) -> Layer | None:
    names = _names(args, {k: k for k in ("weight", "bias")})
    if names is None or len(names) == 1:
        return None
    kwargs = _spread(args, {"eps": 1e-5}) | ({} if names else {"affine": False})
    return _layer("GroupNorm", (args["num_groups"], facts[args["input"]].dims[1]), kwargs, names)


def _layer_norm(
    args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts
) -> Layer | None:
    names = _names(args, {k: k for k in ("weight", "bias")})
    if names is None or set(names) == {"bias"} or not _plain(args, "normalized_shape"):
        return None
    kwargs = _spread(args, {"eps": 1e-5})
    if not names:
        kwargs["elementwise_affine"] = False
    elif "bias" not in names:
        kwargs["bias"] = False
    shape = tuple(args["normalized_shape"])
    return _layer("LayerNorm", (shape[0] if len(shape) == 1 else shape,), kwargs, names)


def _embedding(args: dict[str, Any], constants: Mapping[str, Tensor], facts: Facts) -> Layer | None:
    names = _names(args, {"weight": "weight"})
    if names is None or args["padding_idx"] != -1 or args["sparse"] or args["scale_grad_by_freq"]:
        return None
    return _layer("Embedding", tuple(constants[names["weight"]].shape), {}, names)


RULES: dict[str, Rule] = {
    **{f"aten.conv{n}d.default": _conv(f"Conv{n}d") for n in (1, 2, 3)},
    **{f"aten.conv{n}d.padding": _conv(f"Conv{n}d") for n in (1, 2, 3)},
    "aten._convolution_mode.default": _conv(),
    "aten.conv_transpose1d.default": _conv_transpose("ConvTranspose1d"),
    "aten.conv_transpose2d.input": _conv_transpose("ConvTranspose2d"),
    "aten.conv_transpose3d.input": _conv_transpose("ConvTranspose3d"),
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.instance_norm.default": _instance_norm,
    "aten.group_norm.default": _group_norm,
    "aten.layer_norm.default": _layer_norm,
    "aten.embedding.default": _embedding,
}
