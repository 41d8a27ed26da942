"""The file that ships is the network that was trained: pytest verify_in_pytest.py"""

from __future__ import annotations

import os

import pytest

import igc

CHECKPOINT = os.environ.get("CHECKPOINT", "gated.pt")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("net") / "model.onnx")
    igc.export_onnx(igc.compile(CHECKPOINT), path)
    return path


def test_the_onnx_file_computes_what_the_checkpoint_does(model: str) -> None:
    check = igc.verify(CHECKPOINT, model)
    assert check.passed, check  # prints every task with its difference and its bound


def test_the_compiled_network_is_smaller() -> None:
    columns = igc.report(CHECKPOINT).to_dict()["columns"]
    assert columns["static"]["macs"] < columns["gated"]["macs"]
