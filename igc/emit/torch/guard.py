"""The last gate before generated code runs: it may hold tensor expressions and nothing else.

Names are made harmless and values are written by `repr` already (`names`, `literals`); this check
does not rely on that. It reads the finished text and refuses whatever could reach beyond tensors.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import torch

from igc.emit.torch.calls import FUNCTIONAL, METHODS, TORCH
from igc.errors import LintError

ROOTS = frozenset({"self", "torch", "F", "OrderedDict", "float"})
ALLOWED = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Delete, ast.Return,
    ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice, ast.Name, ast.Constant,
    ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop,
    ast.cmpop, ast.expr_context,
)  # fmt: skip
PLAIN_TYPES = (torch.dtype, torch.layout, torch.memory_format)
READS_FILES = frozenset({"from_file"})


def check_forward(text: str, members: Iterable[str], containers: Iterable[str] = ()) -> None:
    """Raises `LintError` unless `text` is one `forward` of plain tensor expressions.

    Allowed are assignments to local names, `del` of them, `torch._assert`, one return, arithmetic,
    indexing, literals, and calls of `self.<member>`, of the `torch` and `F` functions and tensor
    methods that igc writes, and of `torch.ops.aten.*` (file readers excepted). No import, no other
    attribute, no lambda, no comprehension, no other global name but those of `containers`.
    """
    tree = ast.parse(text)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise LintError("generated code is not a single function")
    function = tree.body[0]
    arguments = function.args
    if function.name != "forward" or function.decorator_list or function.returns:
        raise LintError("generated code is not a plain forward")
    if arguments.defaults or arguments.kw_defaults or arguments.vararg or arguments.kwarg:
        raise LintError("generated code has default values or variable arguments")
    local = {a.arg for a in arguments.args} - {"self"}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
                raise LintError(f"generated code assigns to {ast.unparse(node)!r}")
            local.add(node.targets[0].id)
    roots = ROOTS | set(containers)
    if local & roots:
        raise LintError("generated code shadows a global name")
    known = frozenset(members)
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED) and not _is_demand(node):
            raise LintError(f"generated code holds a {type(node).__name__}")
        if isinstance(node, ast.Name) and node.id not in local | roots:
            raise LintError(f"generated code names {node.id!r}")
        if isinstance(node, ast.Attribute) and not _allowed(node, known):
            raise LintError(f"generated code reads {ast.unparse(node)!r}")


def _is_demand(node: ast.AST) -> bool:
    """Whether a statement is a bare `torch._assert(...)`."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "torch._assert"


def _allowed(node: ast.Attribute, members: frozenset[str]) -> bool:
    name = node.attr
    base = ast.unparse(node.value) if isinstance(node.value, (ast.Attribute, ast.Name)) else ""
    if base == "self":
        return name in members
    if base == "F":
        return name in FUNCTIONAL
    if base == "torch":
        return name in TORCH | {"ops", "device", "_assert"} or isinstance(
            getattr(torch, name, None), PLAIN_TYPES
        )
    if base == "torch.ops":
        return name == "aten"
    if base == "torch.ops.aten":
        return not name.startswith("__init") and name not in READS_FILES
    if base.startswith("torch.ops.aten."):
        return base.count(".") == 3 and not name.startswith("_")
    return name in METHODS
