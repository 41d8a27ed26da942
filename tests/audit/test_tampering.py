"""Whatever is changed in a model, a manifest or a checkpoint, the audit fails and names it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from audit_nets import certified, gated_net
from onnx import numpy_helper

import igc
from igc.certificate.manifest import numbers, ranges
from igc.errors import BadInput


def rewrite(proto: onnx.TensorProto, change: Any) -> None:
    value = numpy_helper.to_array(proto).copy()
    proto.raw_data = np.ascontiguousarray(change(value)).tobytes()


def swapped(value: np.ndarray) -> np.ndarray:
    value[[0, 1]] = value[[1, 0]]
    return value


def nudged(value: np.ndarray) -> np.ndarray:
    value.reshape(-1)[0] = np.nextafter(value.reshape(-1)[0], np.inf, dtype=value.dtype)
    return value


def entry_of(manifest: dict[str, Any], kind: str) -> tuple[str, list[Any]]:
    """A tensor whose recipe has this kind at its top or directly below, and that part of it."""
    for name, entry in sorted(manifest["tensors"].items()):
        for recipe in entry.get("from", ()):
            if recipe[0] == kind:
                return name, recipe
            if isinstance(recipe[1], list) and recipe[1][0] == kind:
                return name, recipe[1]
    raise AssertionError(f"no {kind} in the manifest")


def test_an_untouched_certificate_holds(original) -> None:
    found = original.audit()
    assert found.passed, found.failures
    assert found.moved and found.folded and found.literal and found.left_out > 100
    assert found.worst_ulps <= 1  # of the 4 allowed
    assert len(found.gates) == 8  # three layers, two tasks; two mixes


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize(
    ("part", "change"), [("0.weight", swapped), ("fc.weight", nudged),
                     ("coefficient", lambda v: v * 1.001), ("index", swapped)]
)  # fmt: skip
def test_a_changed_tensor_is_named(certificate, part: str, change: Any, forged: bool) -> None:
    name = ""

    def tamper(model: onnx.ModelProto) -> None:
        nonlocal name
        named = [t for t in model.graph.initializer if part in t.name]
        first = next(t for t in named if (t.dims[0] if change is swapped else max(t.dims)) > 1)
        name = first.name
        rewrite(first, change)

    certificate.change_model(tamper)
    if forged:
        certificate.forge()
    found = certificate.audit()
    assert not found.passed
    assert any(f"'{name}'" in line for line in found.failures), found.failures


def test_a_permutation_changed_in_model_and_manifest_alike_changes_the_outputs(certificate) -> None:
    def tamper(model: onnx.ModelProto) -> None:
        name = min(t.name for t in model.graph.initializer if t.name.startswith("index"))
        rewrite(next(t for t in model.graph.initializer if t.name == name), swapped)

    def agree(content: dict[str, Any]) -> None:
        name = min(n for n in content["tensors"] if n.startswith("index"))
        entry = content["tensors"][name]
        at = numbers(content["index"][entry["numbers"]], 100)
        at[0], at[1] = at[1], at[0]
        content["index"].append(ranges(at))
        entry["numbers"] = len(content["index"]) - 1

    certificate.change_model(tamper)
    certificate.change_manifest(agree)
    certificate.forge()
    found = certificate.audit()
    assert any(line.startswith("output '") for line in found.failures), found.failures
    assert not [n for n in found.failures if n.startswith(("hash", "wiring", "tensor"))]


@pytest.mark.parametrize("forged", [False, True])
def test_a_flipped_gate_is_named(certificate, forged: bool) -> None:
    network = igc.load(certificate.checkpoint)
    layer = next(iter(network.gates))
    task = next(iter(network.gates[layer]))
    alpha = network.gates[layer][task].alpha
    name = next(n for n, p in network.named_parameters() if p is alpha)
    closed = int((alpha < 0).nonzero()[0])
    with torch.no_grad():
        alpha[closed] = -alpha[closed]
    igc.save(network, certificate.checkpoint)
    if forged:
        certificate.forge()
        found = certificate.audit()
        unread = [line for line in found.failures if "elements left out" in line]
        assert any(line.startswith(f"checkpoint tensor 'branches.{task}.") for line in unread)
    else:
        found = certificate.audit()
        assert f"checkpoint tensor '{name}': not the one that was compiled" in found.failures


def test_a_changed_row_of_the_checkpoint_is_named(certificate) -> None:
    network = igc.load(certificate.checkpoint)
    name = "heads.a.fc.weight"
    with torch.no_grad():
        dict(network.named_parameters())[name][1] *= 2
    igc.save(network, certificate.checkpoint)
    certificate.forge()
    assert any(f"tensor '{name}'" in line for line in certificate.audit().failures)


@pytest.mark.parametrize("kind", ["take", "scale", "slope"])
def test_a_changed_recipe_is_named(certificate, kind: str) -> None:
    name = ""

    def tamper(content: dict[str, Any]) -> None:
        nonlocal name
        name, recipe = entry_of(content, kind)
        if kind == "scale":
            recipe[-1] *= 100.0  # epsilon
        elif kind == "slope":
            part = recipe[4][0]
            other = [n + 1 if n < 4 else n - 1 for n in numbers(content["index"][part[1]], 100)]
            content["index"].append(ranges(other))
            part[1] = len(content["index"]) - 1
        else:
            place = next(i for i, at in enumerate(recipe[2]) if at is not None)
            rows = numbers(content["index"][recipe[2][place]], 100)
            rows[0] = next(n for n in range(100) if n not in rows)
            content["index"].append(ranges(rows))
            recipe[2][place] = len(content["index"]) - 1

    certificate.change_manifest(tamper)
    certificate.forge()
    found = certificate.audit()
    assert any(line.startswith(f"tensor '{name}'") for line in found.failures), found.failures


def test_changed_wiring_is_named(certificate) -> None:
    def tamper(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.op_type == "Relu")
        node.op_type = "Sigmoid"

    certificate.change_model(tamper)
    assert any("wiring: node 'Relu_" in line for line in certificate.audit().failures)
    certificate.forge()
    assert any(line.startswith("output '") for line in certificate.audit().failures)


def test_swapped_outputs_are_found(certificate) -> None:
    def tamper(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = [{"a": "b", "b": "a"}.get(o, o) for o in node.output]

    certificate.change_model(tamper)
    certificate.forge()
    assert any("outputs swapped" in line for line in certificate.audit().failures)


def test_changed_hashes_are_named(certificate) -> None:
    certificate.change_manifest(lambda c: c["model"].update(sha256="0" * 64))
    failures = certificate.audit().failures
    assert "hash: model.onnx does not name this model.manifest.json; one was changed" in failures
    assert "hash: model.onnx is not the model that model.manifest.json certifies" in failures


def test_a_changed_checkpoint_hash_is_named(certificate) -> None:
    certificate.change_manifest(lambda c: c["checkpoint"].update(sha256="0" * 64))
    failures = certificate.audit().failures
    assert "hash: the checkpoint is not the file that was compiled" in failures


def test_changed_metadata_is_found(certificate) -> None:
    certificate.change_model(lambda m: m.metadata_props.add(key="note", value="mine"))
    assert any(line.startswith("hash: ") for line in certificate.audit().failures)


def test_a_tensor_less_in_the_manifest_is_named(certificate) -> None:
    certificate.change_manifest(lambda c: c["tensors"].pop("heads.a.fc.weight"))
    assert "tensor 'heads.a.fc.weight': not in the manifest" in certificate.audit().failures


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no proper JSON"), ("[]", "no manifest"), ('{"format": "igc manifest"}', "version"),
     ('{"format": "igc manifest", "version": 1}', "nothing of the model"),
     ('{"format": "igc manifest", "version": 1, "model": {}}', "do not fit"),
     ("[" * 100_000, "no proper JSON")],
)  # fmt: skip
def test_an_unreadable_manifest_is_bad_input(certificate, text: str, why: str) -> None:
    certificate.manifest.write_text(text)
    with pytest.raises(BadInput, match=why):
        certificate.audit()


def test_a_missing_manifest_is_bad_input(certificate) -> None:
    certificate.manifest.unlink()
    with pytest.raises(BadInput, match="no such file"):
        certificate.audit()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [["tensor", "no such"], ["fire", "x"], [], 3, ["node", "a"],
                                    ["take", ["tensor", "heads.a.fc.weight"], [0]],
                                    ["known", "a", 1, 10**9], ["select", None, 0, 0]])  # fmt: skip
def test_a_meaningless_recipe_is_told(certificate, recipe: Any) -> None:
    name = "heads.a.fc.weight"
    certificate.change_manifest(lambda c: c["tensors"][name].update({"from": [recipe]}))
    with contextlib.suppress(BadInput):  # "its manifest does not fit"
        failures = certificate.audit().failures
        assert any(line.startswith(f"tensor '{name}'") for line in failures)


@pytest.mark.slow
def test_the_same_network_gives_the_same_manifest(certificate, tmp_path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    other = certified(gated_net(), (torch.zeros(2, 3, 8, 8),), again)
    assert other.manifest.read_bytes() == certificate.manifest.read_bytes()
    assert other.onnx.read_bytes() == certificate.onnx.read_bytes()
    assert json.loads(other.manifest.read_text())["tools"]["torch"]


@pytest.mark.parametrize("text", ["0-99999999999", "0-9999," * 50 + "1"])
def test_a_list_longer_than_any_tensor_is_bad_input(certificate, text: str) -> None:
    """Before anything of its size is made."""
    certificate.change_manifest(lambda c: c["index"].append(text))
    with pytest.raises(BadInput, match=r"list \d+ of its index holds \d+ numbers"):
        certificate.audit()


def test_rows_taken_again_and_again_are_not_made(certificate) -> None:
    """Two lists within bounds, and a value of their product."""
    name = "heads.a.fc.weight"

    def tamper(content: dict[str, Any]) -> None:
        content["index"].append(",".join(["0"] * 300))
        at = len(content["index"]) - 1
        content["tensors"][name]["from"] = [["take", ["tensor", name], [at, at]]]

    certificate.change_manifest(tamper)
    failures = certificate.audit().failures
    assert f"tensor '{name}': its entry in the manifest means nothing: more rows than any tensor "\
        "has" in failures  # fmt: skip
