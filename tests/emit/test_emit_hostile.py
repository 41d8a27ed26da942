"""No name or value that a network brings along becomes code."""

from __future__ import annotations

import ast
import keyword
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from emit_nets import branches
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from igc.delivery import export_source
from igc.emit import emit
from igc.emit.names import Names, identifier
from igc.emit.torch.guard import check_forward
from igc.emit.torch.literals import Writer, scalar
from igc.errors import BadInput, LintError
from igc.program import Program

HOSTILE = [
    "x');__import__('os').system('true');('",
    "a\nimport os\nb",
    "__class__",
    "forward",
    "self",
    "torch",
    "F",
    "lambda",
    "train",
    "parameters",
    "Net",
    "load",
    'quote"\\"""',
    "Straße λ \u202e\u0000",
    "",
    "1.2.3",
    "#" * 300,
]


def hostile(program: Program, name: str) -> Program:
    """The program with `name` for a layer, a constant, the input and an output."""
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    constants = {f"{name}.{k}": v for k, v in program.constants.items()}
    for node in program.graph.nodes:
        env[node] = graph.node_copy(node, env.__getitem__)
        env[node].meta["layer"] = name
        if node.op == "get_attr":
            env[node].target = f"{name}.{node.target}"
    inputs = (replace(program.inputs[0], name=name),)
    return replace(
        program, graph=graph, constants=constants, inputs=inputs, outputs=(name, f"{name}.2")
    )


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(name: str, tmp_path: Path) -> None:
    _, program, x = branches()
    static = emit(hostile(program, name))
    assert torch.equal(static(x)["seg"], emit(program)(x)["seg"])
    assert all(n.isidentifier() and not keyword.iskeyword(n) for n, _ in static.named_children())
    export_source(static, tmp_path / "net")
    text = (tmp_path / "net" / "net.py").read_text(encoding="utf-8")
    assert text.isascii()
    tree = ast.parse(text)
    imports = [
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    assert imports == [
        "from pathlib import Path",
        "import torch",
        "import torch.nn.functional as F",
        "from safetensors.torch import load_file",
        "from torch import nn",
        "from torch.utils._pytree import tree_leaves",
    ]
    called = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert not called & {"__import__", "eval", "exec", "compile", "open", "os.system"}
    (outputs,) = (
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "OUTPUTS"
    )
    assert outputs == static.outputs


@given(st.text(max_size=30))
def test_identifiers_are_plain(text: str) -> None:
    name = identifier(text)
    assert name.isidentifier()
    assert name.isascii()
    assert not keyword.iskeyword(name)
    assert not name.startswith("_")


@given(st.lists(st.text(max_size=5), max_size=20))
def test_names_are_given_once(texts: list[str]) -> None:
    names = Names({"value"})
    made = [names.new(t) for t in texts]
    assert len({*made, "value"}) == len(made) + 1


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False)))
def test_values_read_back(value: object) -> None:
    text = scalar(value)
    assert text.isascii()
    if value in (float("inf"), float("-inf")):
        assert text == f'float("{value}")'
    else:
        assert ast.literal_eval(text) == value


def test_other_values_are_refused() -> None:
    class Sly(str):
        def __format__(self, _: str) -> str:
            return '" + evil() + "'

    for value in (Sly("x"), object(), 1j, b"x"):
        with pytest.raises(BadInput, match="cannot write"):
            scalar(value)
    writer = Writer(lambda node: node.name, torch.float32, None)
    assert writer((1, torch.int64, [True])) == "(1, torch.int64, (True,))"


BAD = [
    "def forward(self, x):\n    import os\n    return x\n",
    "def forward(self, x):\n    return __import__('os')\n",
    "def forward(self, x):\n    return x.__class__\n",
    "def forward(self, x):\n    return x.numpy().tofile('f')\n",
    "def forward(self, x):\n    return torch.load('f')\n",
    "def forward(self, x):\n    return torch.hub.load('f')\n",
    "def forward(self, x):\n    return torch.ops.aten.from_file.default('f')\n",
    "def forward(self, x):\n    return torch.ops.other.op(x)\n",
    "def forward(self, x):\n    return self.save('f')\n",
    "def forward(self, x):\n    return self.conv._modules\n",
    "def forward(self, x):\n    return eval('x')\n",
    "def forward(self, x):\n    return (lambda: x)()\n",
    "def forward(self, x):\n    return [y for y in x]\n",
    "def forward(self, x):\n    self.y = x\n    return x\n",
    "def forward(self, x):\n    torch = x\n    return torch\n",
    "def forward(self, x=print()):\n    return x\n",
    "def forward(self, *x):\n    return x\n",
    "def other(self, x):\n    return x\n",
    "@print\ndef forward(self, x):\n    return x\n",
    "def forward(self, x):\n    return x\nprint()\n",
    "def forward(self, x):\n    return f'{x}'\n",
    "def forward(self, x):\n    return (y := x)\n",
    "def forward(self, x):\n    print(x)\n    return x\n",
    "def forward(self, x):\n    torch._assert(print(x), 'x')\n    return x\n",
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_the_guard_refuses(text: str) -> None:
    with pytest.raises(LintError):
        check_forward(text, ["conv"])


def test_the_guard_lets_tensor_code_pass() -> None:
    check_forward(
        "def forward(self, x):\n    torch._assert(x.shape[2] == 8, 'a size')\n"
        "    x = self.conv(x) * 2\n    y = torch.relu(x[:, 1:])\n"
        "    del x\n    return {'a': y.reshape((y.shape[0], -1))}\n",
        ["conv"],
    )
