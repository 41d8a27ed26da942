"""The house stays built this way: a file imports only from floors below its own, in no circle.

Imports for types alone (`if TYPE_CHECKING:`) do not count; those inside functions do, and so does
the name of a module of igc that a call is given, as `import_module` is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: From the roof down. A folder of igc/ is one floor, a file at its root too.
FLOORS = (
    "cli", "demo", "testing", "__init__", "rebuild", "delivery", "train", "reports", "audit",
    "verification", "compiler", "checkpoint", "certificate", "emit", "branching", "onnx_files",
    "passes", "capture", "analysis", "ops", "program", "models", "nn", "files", "errors",
    "version",
)  # fmt: skip
#: What may import upwards, and why.
UPWARDS = {
    ("igc/emit/torch/static.py", "checkpoint"): "StaticNetwork.save(path) is igc.save(self, path)",
    ("igc/emit/torch/static.py", "delivery"): "StaticNetwork.export(folder) is written there",
}
#: Foreign packages, and the only rooms of igc/ that import them.
ONLY = {
    "onnx": (
        "emit/onnx/",
        "onnx_files/",
        "certificate/",
        "audit/",
        "verification/",
        "rebuild/",
        "testing/",
    ),
    "onnxruntime": ("onnx_files/", "verification/", "demo/", "testing/"),
    "onnxsim": ("emit/onnx/",),
    "onnxscript": (),
    "torch.export": ("capture/", "emit/onnx/"),
    "torch.onnx": ("emit/onnx/",),
    "safetensors": ("emit/torch/", "checkpoint/"),
    "hypothesis": ("testing/",),
    "rich": ("demo/",),
    "typer": (),
    "igc_cli": (),
}

Sources = Mapping[str, str]  # text by path, such as "igc/files.py"


def sources() -> dict[str, str]:
    files = [*ROOT.glob("igc/**/*.py"), *ROOT.glob("cli/*.py")]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def floor(module: str) -> str | None:
    """The floor of a module's name, None for one that is not the project's."""
    top, _, rest = module.partition(".")
    if top == "igc_cli":
        return "cli"
    return (rest.partition(".")[0] or "__init__") if top == "igc" else None


def name_of(path: str) -> str:
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(["igc_cli", *parts[1:]] if parts[0] == "cli" else parts)


def imports(text: str, path: str) -> Iterator[str]:
    """Every module or name that a file imports, dotted, those for types alone left out."""
    tree = ast.parse(text)
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path).rpartition(".")[0] if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            given = [a.value for a in node.args if isinstance(a, ast.Constant)]
            yield from (str(value) for value in given if _names_a_module(value))


def _names_a_module(value: object) -> bool:
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) < 2 or parts[0] != "igc" or not all(map(str.isidentifier, parts)):
        return False
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def climbs(files: Sources) -> list[str]:
    """Imports of what stands above, the named exceptions left out; and of what has no floor."""
    found = []
    for path, text in files.items():
        own = "cli" if path.startswith("cli/") else floor(name_of(path))
        for module in imports(text, path):
            below = floor(module)
            if below is None or below == own or (path, below) in UPWARDS:
                continue
            if own not in FLOORS or below not in FLOORS:
                found.append(f"{path} or {module}: no floor")
            elif FLOORS.index(own) >= FLOORS.index(below):
                found.append(f"{path} imports {module}, which stands above it")
    return found


def strays(files: Sources) -> list[str]:
    """Imports of foreign packages outside their rooms."""
    return [
        f"{path} imports {module}; only {', '.join(ONLY[package]) or 'nobody'} may"
        for path, text in files.items()
        if path.startswith("igc/")
        for module in imports(text, path)
        for package in ONLY
        if f"{module}.".startswith(f"{package}.")
        and not path.removeprefix("igc/").startswith(ONLY[package])
    ]


def circle(files: Sources) -> list[str]:
    """Files that import each other in a circle, one such; empty where there is none."""
    by_name = {name_of(path): path for path in files}
    graph: dict[str, set[str]] = {}
    for path, text in files.items():
        for module in imports(text, path):
            parent = module.rpartition(".")[0]
            read = by_name.get(module) or by_name.get(parent)
            if read not in (None, path) and (path, str(floor(module))) not in UPWARDS:
                graph.setdefault(path, set()).add(str(read))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_file_imports_only_what_lies_below_it() -> None:
    assert climbs(sources()) == []


def test_foreign_packages_are_imported_in_their_own_rooms() -> None:
    assert strays(sources()) == []


def test_no_files_import_each_other() -> None:
    assert circle(sources()) == []


def test_six_files_lie_at_the_root() -> None:
    root = {path for path in sources() if path.count("/") == 1 and path.startswith("igc/")}
    floors = {f"igc/{name}.py" for name in ("compiler", "delivery", "errors", "files", "version")}
    assert root == {"igc/__init__.py", *floors}


def test_there_are_two_exceptions_and_both_are_needed() -> None:
    assert len(UPWARDS) <= 2
    files = sources()
    for path, above in UPWARDS:
        assert above in {floor(module) for module in imports(files[path], path)}, (path, above)


def test_no_file_is_longer_than_a_few_screens() -> None:
    assert [path for path, text in sources().items() if text.count("\n") > 400] == []


@pytest.mark.parametrize(
    ("path", "line", "said"),
    [
        ("igc/ops/new.py", "from igc.passes import PIPELINE", "igc.passes.PIPELINE, which stands"),
        ("igc/ops/new.py", "def f():\n    import igc.reports.html", "igc.reports.html"),
        ("igc/program/new.py", "import igc", "igc, which stands above"),
        ("igc/emit/new.py", "from igc.checkpoint import save", "igc.checkpoint.save"),
        ("igc/emit/new.py", "f = import_module('igc.delivery')", "igc.delivery, which stands"),
        ("igc/loose.py", "from igc.errors import IgcError", "no floor"),
    ],
)
def test_an_import_upwards_is_found(path: str, line: str, said: str) -> None:
    (found,) = climbs({path: line})
    assert said in found
    assert climbs({path: "import torch"}) == []


def test_a_type_alone_is_no_import() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import igc.delivery\n"
    assert climbs({"igc/program/new.py": text}) == []


@pytest.mark.parametrize("line", ["import onnx", "from onnx import helper", "import typer"])
def test_a_stray_package_is_found(line: str) -> None:
    assert len(strays({"igc/ops/new.py": line})) == 1
    assert strays({"igc/ops/new.py": "import onnxlike, torch"}) == []


def test_a_circle_is_found() -> None:
    files = {
        "igc/ops/a.py": "from igc.ops.b import x",
        "igc/ops/b.py": "def f():\n    from igc.ops import c",
        "igc/ops/c.py": "import igc.ops.a",
    }
    assert set(circle(files)) == set(files)
    assert circle({**files, "igc/ops/c.py": ""}) == []
