"""Every change of a model is found, its manifest rewritten to match: nothing is left to trust."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from rebuild_nets import CASES
from slowness import slow_but

import igc
from igc.certificate.manifest import digest, seal, sha256, tensor_of, wiring, written
from igc.errors import IgcError
from igc.rebuild.files import Given, Made, given, made
from igc.rebuild.rebuilding import compare, rebuild
from igc.rebuild.told import Told, told
from igc.testing.mutations import KINDS, mutations

NAMES = ("plain", "split groups", "one task", "float16", "bfloat16", "recurrent", "a fixed axis")

STEP = {"recurrent": 7}  # of its thousands of changes every seventh; it has no node on its own


def resealed(model: onnx.ModelProto, manifest: bytes) -> Given:
    """The changed model, with a manifest in which every hash fits."""
    body = onnx.ModelProto()
    body.CopyFrom(model)
    kept = [p for p in body.metadata_props if p.key != "igc.manifest_sha256"]
    del body.metadata_props[:]
    body.metadata_props.extend(kept)
    data = body.SerializeToString(deterministic=True)
    content = json.loads(manifest)
    content["model"] = {"sha256": sha256(data), "wiring": wiring(body.graph)}
    stated = content["tensors"]
    content["tensors"] = {
        t.name: stated.get(t.name, {"numbers": []}) | {"sha256": _digest(t)}
        for t in body.graph.initializer
    }
    text = written(content)
    whole = data + seal(text)
    return Given("model.onnx", whole, onnx.load_model_from_string(whole), text)


def _digest(tensor: TensorProto) -> str:
    try:
        return digest(tensor_of(tensor))
    except Exception:  # its data is elsewhere, or does not fit its shape
        return ""


@pytest.mark.parametrize("name", slow_but(["one task"], NAMES))
def test_no_change_of_a_model_comes_out_the_same(name: str, tmp_path: Path) -> None:
    checkpoint, model = CASES[name].delivered(tmp_path)
    network, original = igc.load(checkpoint), given(model)

    @cache
    def compiled(how: Told) -> Made:
        try:
            return made(network, checkpoint, None, how, model.name)
        except IgcError:  # as `rebuild` does
            return compiled(Told())

    assert not compare("", original, compiled(told(original.model))).differences
    again = resealed(original.model, original.manifest)
    assert not compare("", again, compiled(told(again.model))).differences
    kinds: Counter[str] = Counter()
    for change, changed in islice(mutations(original.model), 0, None, STEP.get(name, 1)):
        forged = resealed(changed, original.manifest)
        if forged.data == original.data:  # of the entry that is written anew
            assert "igc.manifest_sha256" in change
            continue
        kinds[change.partition(":")[0]] += 1
        found = compare("", forged, compiled(told(forged.model)))
        assert found.differences, change
        assert found.comparable, change
        assert all("\n" not in line for line in found.differences), change
    assert set(kinds) == set(KINDS)
    assert kinds.total() > 300


@pytest.mark.slow
def test_some_changes_through_the_whole_of_a_rebuild(tmp_path: Path) -> None:
    """A few of each kind, read from the disk as a user's files are."""
    checkpoint, model = CASES["plain"].delivered(tmp_path)
    network, original = igc.load(checkpoint), given(model)
    for kind in KINDS:
        for change, changed in [*mutations(original.model, (kind,))][::40][:5]:
            forged = resealed(changed, original.manifest)
            model.write_bytes(forged.data)
            model.with_suffix(".manifest.json").write_bytes(forged.manifest)
            found = rebuild(model, network, checkpoint)
            assert found.differences, change
            assert found.comparable, change
