"""Every kind of field of manifest, model and checkpoint changed: the audit fails, or it is listed.

"As it is" changes one file and nothing else; every change is found. "Forged" makes every hash fit
again; what is then not found is listed in `HARMLESS`, each with its reason, and in
docs/certificate.md.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from adversary import at, changed, kind, leaves, model_changes
from audit_nets import Certificate
from safetensors.torch import load_file, save_file

import igc
from igc.audit import audit
from igc.audit import auditor as check
from igc.certificate.manifest import hashes, seal
from igc.certificate.manifest import read as read_certified
from igc.errors import BadInput, IgcError

# Leaves of a manifest that nothing of the model or checkpoint hangs on: told, not checked.
TOLD = ("tools/", "verification")
# What a forger may change unnoticed in a model, hashes made to fit: nothing that is computed. An
# output less is a network compiled for fewer tasks; the audit says which outputs it looked at.
HARMLESS = ("metadata", "header: ")


@pytest.fixture(scope="module")
def read(original: Certificate) -> dict[str, Any]:
    """Checkpoint and model, read once."""
    network = igc.load(original.checkpoint)
    return {
        "program": network.to_program(),
        "hashes": hashes(original.checkpoint, network),
        "manifest": json.loads(original.manifest.read_bytes()),
        "model": onnx.load(original.onnx),
    }


def failures(certificate: Certificate, read: dict[str, Any]) -> list[str]:
    """What the audit says; that it could not be checked counts."""
    try:
        return audit(certificate.onnx, read["program"], read["hashes"]).failures
    except BadInput as error:
        return [str(error)]


def reseal(certificate: Certificate, content: Any, model: onnx.ModelProto) -> None:
    """Writes another manifest and a model that names it."""
    text = json.dumps(content, sort_keys=True).encode()
    certificate.manifest.write_bytes(text)
    body = onnx.ModelProto()
    body.CopyFrom(model)
    kept = [p for p in body.metadata_props if p.key != "igc.manifest_sha256"]
    del body.metadata_props[:]
    body.metadata_props.extend(kept)
    certificate.onnx.write_bytes(body.SerializeToString(deterministic=True) + seal(text))


def by_kind(content: Any, most: int) -> dict[str, list[Any]]:
    """Some leaves of each kind."""
    found: dict[str, list[Any]] = {}
    for path in leaves(content):
        of_kind = found.setdefault(kind(content, path), [])
        if len(of_kind) < most:
            of_kind.append(path)
    return found


def unnoticed(
    certificate: Certificate, read: dict[str, Any], monkeypatch: pytest.MonkeyPatch, most: int
) -> set[str]:
    """Kinds of leaves of the manifest that can be changed, its hash made to fit."""
    # Model and checkpoint stay as they are, so what onnxruntime computes stays, too.
    monkeypatch.setattr(check, "verify", lambda *_, **__: SimpleNamespace(failures=[]))
    reseal(certificate, read["manifest"], read["model"])
    assert failures(certificate, read) == []
    found = set()
    for name, paths in by_kind(read["manifest"], most).items():
        for path in paths:
            reseal(certificate, changed(read["manifest"], path), read["model"])
            if not failures(certificate, read) and not same_anyway(read, path):
                found.add(name)
    return found


def same_anyway(read: dict[str, Any], path: Any) -> bool:
    """An axis named for one that holds one entry alone: the factor is the same number."""
    recipe = at(read["manifest"], path[:-1])
    if not isinstance(recipe, list) or recipe[0] != "scale" or path[-1] != 2:
        return False
    model = {t.name: t for t in read["model"].graph.initializer}
    return model[path[1]].dims[0] == 1


@pytest.mark.slow
def test_kinds_of_leaves(read: dict[str, Any]) -> None:
    """The enumeration reaches every part of the manifest."""
    kinds = by_kind(read["manifest"], 1)
    assert len(kinds) > 60
    assert {k.split("/")[0] for k in kinds} == set(read["manifest"])
    assert {k.split("/")[4].split(".")[0] for k in kinds if "/from/" in k} >= {
        "scale", "shift", "slope", "tensor",
    }  # fmt: skip
    assert any("/take.2/" in k for k in kinds)


def test_a_changed_leaf_of_the_manifest_breaks_the_seal(certificate, read) -> None:
    certificate.change_manifest(lambda c: c["tools"].update(igc="9"))
    assert failures(certificate, read)[0].startswith("hash: ")


@pytest.mark.slow
def test_every_kind_of_leaf_of_a_forged_manifest(certificate, read, monkeypatch) -> None:
    found = unnoticed(certificate, read, monkeypatch, 1)
    assert not [name for name in found if not name.startswith(TOLD)]
    assert found  # the ones that are told
    kinds = by_kind(read["manifest"], 1)
    some = ("scale.6", "shift.6", "scale.3", "slope.2", "slope.3", "numbers")
    assert all(any(name.endswith(part) for name in kinds) for part in some)


@pytest.mark.slow
def test_every_change_of_a_model_is_found(certificate, read) -> None:
    """By the hash of the file, before anything is derived or run."""
    original, count = certificate.onnx.read_bytes(), 0
    assert not read_certified(certificate.onnx).problems
    for name, change in model_changes(read["model"]):
        certificate.change_model(change)
        with contextlib.suppress(BadInput):  # no model any more
            assert read_certified(certificate.onnx).problems, name
        certificate.onnx.write_bytes(original)
        count += 1
    assert count > 300


FORGED = ["input input: size 0", "input input: size 3", "input input: another name",
          "output a: size 0", "output b: removed", "nodes: one more", "outputs: names exchanged",
          "metadata igc.outputs: value", "tensors: one more"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_the_interface_of_a_forged_model(certificate, read, monkeypatch, name: str) -> None:
    """What the outputs' values would not tell is told by `igc.verification.interface`."""
    if name != "outputs: names exchanged":
        monkeypatch.setattr(check, "verify", lambda *_, **__: SimpleNamespace(failures=[]))
    certificate.change_model(dict(model_changes(read["model"]))[name])
    certificate.forge()
    assert failures(certificate, read)


@pytest.mark.slow
def test_changes_of_a_forged_model(certificate, read) -> None:
    """One of each sort, hashes and wiring made to fit: found by tensors or outputs."""
    seen: dict[str, str] = {}
    kinds = {n.name: n.op_type for n in read["model"].graph.node}
    for name, change in model_changes(read["model"]):
        what, _, how = name.partition(": ")
        if what.startswith("node "):
            what = kinds[what[5:]]
        elif what.startswith("tensor "):
            stated = read["manifest"]["tensors"][what[7:]]
            what = stated["from"][0][0] if "from" in stated else "numbers"
        elif what.startswith("output "):
            what = "output"
        how = re.sub(r"\[\d\]", "", how)  # one entry of each attribute
        if f"{what}: {how}" in seen:
            continue
        seen[f"{what}: {how}"] = name
        folded = what in ("scale", "shift", "slope") and how == "one step"  # 1 ulp is allowed
        known = name.startswith("metadata igc.outputs: ") or not name.startswith(HARMLESS)
        if folded or not known:
            continue
        certificate.onnx.write_bytes(read["model"].SerializeToString(deterministic=True))
        certificate.change_model(change)
        certificate.forge()
        assert failures(certificate, read), name
    assert len(seen) > 60


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gate", "weight", "statistic", "mix", "head", "counter"])
def test_changes_of_a_checkpoint_are_named(certificate, read, part: str) -> None:
    network = igc.load(certificate.checkpoint)
    name = next(n for n in network.state_dict() if {
        "gate": "alpha", "weight": "branches.a.0.weight", "statistic": "running_var", "mix": "beta",
        "head": "heads.b", "counter": "num_batches"}[part] in n)  # fmt: skip
    with torch.no_grad():
        value = network.state_dict()[name].reshape(-1)
        value[0] = (
            -value[0] if part == "gate" else value[0] * (1 + 2e-7) + 1e-9 + (part == "counter")
        )
    igc.save(network, certificate.checkpoint)
    changed_hashes = hashes(certificate.checkpoint, network)
    found = audit(certificate.onnx, network.to_program(), changed_hashes).failures
    assert "hash: the checkpoint is not the file that was compiled" in found
    assert f"checkpoint tensor '{name}': not the one that was compiled" in found


@pytest.mark.slow
def test_a_state_dict_in_safetensors(certificate, tmp_path: Path, capsys) -> None:
    """Audited as .pt files are, and its tensors are named as well."""
    from igc_cli.main import run

    factory = tmp_path / "nets.py"
    factory.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from audit_nets import gated_net\n"
    )
    weights = tmp_path / "weights.safetensors"
    state = igc.load(certificate.checkpoint).state_dict()
    save_file({n: t.contiguous() for n, t in state.items()}, weights)
    model = tmp_path / "m.onnx"
    how = ["--model", f"{factory}:gated_net", "--input", "2x3x8x8"]
    assert run(["compile", str(weights), "--out", str(model), "--no-verify", *how]) == 0
    assert run(["audit", str(model), "--against", str(weights), *how]) == 0
    tensors = load_file(weights)
    tensors["heads.a.fc.bias"][0] += 1
    save_file(tensors, weights)
    capsys.readouterr()
    assert run(["audit", str(model), "--against", str(weights), *how]) == 1
    assert "'heads.a.fc.bias': not the one that was compiled" in capsys.readouterr().out
    weights.write_bytes(weights.read_bytes()[:-8])
    assert run(["audit", str(model), "--against", str(weights), *how]) == 2
    with pytest.raises(IgcError):
        igc.load(weights)
