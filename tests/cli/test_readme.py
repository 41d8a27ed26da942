"""The README's first Python example is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_first_example_works(tmp_path, monkeypatch, capsys) -> None:
    (code, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "agree" in printed
    assert "DIFFER" not in printed
    assert "| static |" in printed
    assert (tmp_path / "model.onnx").stat().st_size > 0
