"""Constants that are better kept as what they are made of: folded, they would be larger.

    u @ v                      of low rank: as large as a whole weight, made of two thin ones
    base + u1 @ v1, u2 @ v2    one weight with an update per task: a copy of it for each
    codes.float() * scale      whole numbers of one byte become floats of four
    weight[:8], weight[:16]    the widths of a slimmable layer, one inside the other

What a value is made of is freed by folding it only where nothing else reads that. So a value is
folded where it is no larger than what is freed, and the analyses look through those that are not
(`Facts.constant`). A mask of zeros and ones is always folded, and what it is multiplied with, as
slicing takes out what it masks. So are vectors, everything small, and what is made of
sizes alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from igc.passes.constants import ConstantPool as Pool
from igc.program import Program
from igc.program.rebuild import Env
from igc.program.schema import op_name
from igc.program.shapes import Value

SMALL = 1 << 8  # bytes
TAKES = frozenset({"slice", "select", "narrow", "index_select"})
#: Ops that copy, join by broadcasting, contract or change the type: what may grow for no work.
PRODUCTS = frozenset({
    "matmul", "mm", "bmm", "addmm", "linear", "mul", "div", "add", "sub", "rsub", "addcmul", "lerp",
    "_to_copy", "expand", "repeat", "permute", "reshape", "unsqueeze", "squeeze", "view", "cat",
})  # fmt: skip


@dataclass
class Growth:
    """The values that are not folded so far, and what each of them is made of."""

    program: Program
    facts: dict[fx.Node, Value]
    values: dict[fx.Node, Tensor] = field(default_factory=dict)
    made_of: dict[fx.Node, list[str]] = field(default_factory=dict)

    def parts(self, node: fx.Node, env: Env) -> list[str]:
        """The constants that the node is computed from, through values that are not folded."""
        found = [
            p
            for n in node.all_input_nodes
            for p in (self.made_of[n] if n in self.made_of else [str(env[n].target)])
        ]
        return list(dict.fromkeys(found))

    def keep(self, node: fx.Node, value: Tensor, env: Env) -> None:
        """Remembers the value of a node that is not folded, for those computed from it."""
        self.made_of[node] = self.parts(node, env)
        self.values[node] = value

    def refuses(self, node: fx.Node, value: Tensor, own: torch.dtype, env: Env, pool: Pool) -> str:
        """Why the node's value is not folded; empty where it is."""
        size = value.numel() * own.itemsize
        if not own.is_floating_point or _is_line(value.shape) or _is_mask(value):
            return ""
        if op_name(node) in TAKES:
            return self._overlaps(node)
        if op_name(node) not in PRODUCTS or size <= SMALL:
            return ""
        if any(_is_mask(self._operand(n, env, pool)) for n in node.all_input_nodes):
            return ""
        cone = self._cone(node)
        leaves = [n for n in cone if n.op == "get_attr"]
        freed = sum(self._bytes(n) for n in leaves if _freed(n, node, cone))
        if not leaves or size <= freed:
            return ""
        return f"stays computed: {size} bytes, made of {freed} that nothing else reads"

    def _operand(self, node: fx.Node, env: Env, pool: Pool) -> Tensor:
        return self.values[node] if node in self.values else pool.values[str(env[node].target)]

    def _bytes(self, leaf: fx.Node) -> int:
        name = str(leaf.target)
        return self.program.constants[name].numel() * self.program.kind(name).itemsize

    def _overlaps(self, node: fx.Node) -> str:
        """Parts of one tensor that are together larger than it is."""
        whole = node.all_input_nodes[0]
        if whole in self.values:
            return "stays a part of what stays computed"
        if len(whole.users) < 2 or self._size(whole) * 4 <= SMALL:
            return ""
        told = [self._size(u) if op_name(u) in TAKES else self._size(whole) for u in whole.users]
        if sum(told) <= self._size(whole):
            return ""
        return f"stays a part: {sum(told)} numbers are read of {self._size(whole)}"

    def _size(self, node: fx.Node) -> int:
        return math.prod(self.facts[node].dims)

    def _cone(self, node: fx.Node) -> list[fx.Node]:
        """The node and all that it is computed from, in order."""
        found, stack = {node}, [node]
        while stack:
            new = set(stack.pop().all_input_nodes) - found
            found |= new
            stack += new
        return [n for n in self.program.graph.nodes if n in found]


def _freed(leaf: fx.Node, node: fx.Node, cone: list[fx.Node]) -> bool:
    """Whether nothing but the node reads a constant, or what is computed from it on the way."""
    inside, below = set(cone), {leaf}
    for n in cone:
        if n is not node and (n is leaf or below & set(n.all_input_nodes)):
            below.add(n)
            if not set(n.users) <= inside:
                return False
    return True


def _is_line(shape: torch.Size) -> bool:
    """Whether at most one axis is longer than one: a bias, a scale, the logits of a gate."""
    return sum(n > 1 for n in shape) < 2


def _is_mask(value: Tensor) -> bool:
    return bool(((value == 0) | (value == 1)).all())
