"""Functions of numbers that both sides have: what the terms of each are called."""

from __future__ import annotations

from typing import Any

#: ATen name -> term. Those of the same name in ONNX, but for its capital, are `ONNX` below.
PLAIN: dict[str, str] = {
    name: name
    for name in ("relu", "sigmoid", "tanh", "hardswish", "mish", "abs", "ceil", "floor", "sign",
                 "acos", "asin", "atan", "cos", "cosh", "erf", "exp", "log", "reciprocal", "sin",
                 "sinh", "sqrt", "tan", "hardsigmoid", "selu", "round", "gt", "ge", "lt", "le",
                 "eq", "isnan")
} | {
    "maximum": "max", "minimum": "min", "logical_and": "and", "logical_or": "or",
    "logical_not": "not", "logical_xor": "xor", "bitwise_not": "not", "bitwise_and": "and",
    "bitwise_or": "or",
}  # fmt: skip

#: ATen name -> term and the arguments that are its attributes.
ATTRIBUTED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "leaky_relu": ("leaky_relu", ("negative_slope",)),
    "celu": ("celu", ("alpha",)),
    "elu": ("elu", ("alpha",)),
    "gelu": ("gelu", ("approximate",)),
    "hardshrink": ("shrink", (0.0, "lambd")),
    "softshrink": ("shrink", ("lambd", "lambd")),
}

#: ONNX operator -> term.
ONNX: dict[str, str] = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish", "Mish": "mish",
    "Abs": "abs", "Ceil": "ceil", "Floor": "floor", "Sign": "sign", "Acos": "acos", "Asin": "asin",
    "Atan": "atan", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Log": "log",
    "Reciprocal": "reciprocal", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan",
    "Round": "round", "Max": "max", "Min": "min", "And": "and", "Or": "or", "Not": "not",
    "Xor": "xor", "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le",
    "Equal": "eq", "IsNaN": "isnan", "Pow": "pow", "PRelu": "prelu", "Softplus": "softplus",
}  # fmt: skip

#: ONNX operator -> term, its attributes in order, and their defaults.
ONNX_ATTRIBUTED: dict[str, tuple[str, dict[str, Any]]] = {
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "Celu": ("celu", {"alpha": 1.0}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Gelu": ("gelu", {"approximate": "none"}),
    "Shrink": ("shrink", {"bias": 0.0, "lambd": 0.5}),
}
