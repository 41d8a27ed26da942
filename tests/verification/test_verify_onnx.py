"""ONNX files: the values in onnxruntime, the names, and the validity of the file itself."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from verify_nets import TASKS, Pair, inputs, write_onnx

from igc.errors import BadInput
from igc.verification import verify
from igc.verification.onnx_side import LEVELS, OnnxSide


def test_agree(nets: Pair, tmp_path: Path) -> None:
    check = verify(nets.reference, write_onnx(nets.sliced, tmp_path / "m.onnx"))
    assert check.passed, str(check)
    legs = check.outputs["seg"].legs
    assert {leg.way for leg in legs} == set(LEVELS)
    by_way = {way: {leg.inputs for leg in legs if leg.way == way} for way in LEVELS}
    assert sorted(map(len, by_way.values())) == [3, 17]
    assert all(0 < leg.bound < 1e-4 * leg.scale for leg in legs if "NaN" not in leg.inputs)
    assert "16 x the reference's own error" in legs[0].bound_from


def test_both_ways_round_and_file_against_file(nets: Pair, tmp_path: Path) -> None:
    one = write_onnx(nets.sliced, tmp_path / "one.onnx", square=8)
    two = write_onnx(nets.sliced, tmp_path / "two.onnx", square=8)
    assert verify(one, nets.candidate).passed
    assert verify(one, two).passed
    other = copy.deepcopy(nets.sliced)
    with torch.no_grad():
        other.psi.weight[0] *= 1.01
    assert not verify(one, write_onnx(other, tmp_path / "other.onnx", square=8)).passed
    broken = write_onnx(other, tmp_path / "o.onnx", square=8)
    assert not verify(broken, nets.candidate).passed


@pytest.mark.parametrize("what", ["rows", "beta", "bias", "scale"])
def test_broken_values_fail(nets: Pair, tmp_path: Path, what: str) -> None:
    net = copy.deepcopy(nets.sliced)
    with torch.no_grad():
        if what == "rows":
            net.own["seg"].weight.copy_(net.own["seg"].weight[[1, 0, 2]])
        elif what == "beta":
            net.beta.copy_(net.beta.flip(1))
        elif what == "bias":
            net.own["depth"].bias.zero_()
        else:
            for parameter in net.heads.parameters():
                parameter.mul_(1.01)
    check = verify(nets.reference, write_onnx(net, tmp_path / "m.onnx"))
    assert not check.passed
    assert check.failures


def test_swapped_names_fail_though_the_values_are_in_order(nets: Pair, tmp_path: Path) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx", names=("depth", "seg"))
    check = verify(nets.reference, path)
    assert all(out.passed for out in check.outputs.values())
    assert not check.passed
    assert any(f.startswith("output order") for f in check.failures)


def test_swapped_values_fail_though_the_names_are_in_order(nets: Pair, tmp_path: Path) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx", values=("depth", "seg"))
    check = verify(nets.reference, path)
    assert not check.passed
    assert any("'seg' holds the values of the reference's 'depth'" in f for f in check.failures)


def test_a_wrong_concat_width_fails(nets: Pair, tmp_path: Path) -> None:
    right = write_onnx(nets.sliced, tmp_path / "right.onnx", join=3 + 5)
    assert verify(nets.reference, right).passed
    path = write_onnx(nets.sliced, tmp_path / "wrong.onnx", join=7)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": inputs().numpy()})  # the runtime does not mind
    check = verify(nets.reference, path)
    assert not check.passed
    assert any("not valid ONNX" in f and "Concat" in f for f in check.failures)


def test_a_kernel_of_another_width_is_a_defect_that_the_checker_overlooks(
    nets: Pair, tmp_path: Path
) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx")
    model = onnx.load(path)
    (weight,) = (i for i in model.graph.initializer if i.name == "two.weight")
    wide = np.concatenate([onnx.numpy_helper.to_array(weight)] * 2, axis=1)
    weight.CopyFrom(onnx.numpy_helper.from_array(wide, "two.weight"))
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    assert OnnxSide(str(path)).defects() == ["Conv 'two.conv' takes 12 channels and is given 6"]
    check = verify(nets.reference, path)
    assert not check.passed
    assert any("does not run" in f for f in check.failures)
    assert any("takes 12 channels" in f for f in check.failures)


def test_sizes_that_the_file_alone_fixes_are_a_difference(nets: Pair, tmp_path: Path) -> None:
    check = verify(nets.reference, write_onnx(nets.sliced, tmp_path / "m.onnx", batch=2, square=8))
    assert not check.passed
    assert all(out.passed for out in check.outputs.values())
    assert any("'x' is fixed at 2 at axis 0, in the network open" in f for f in check.failures)
    assert any("'x' is fixed at 8 at axis 3, in the network open" in f for f in check.failures)
    assert any(
        "random 1x3x9x11" in n and "not run: the file" in n and "2x3x8x8" in n for n in check.notes
    )
    other = verify(nets.reference, write_onnx(nets.sliced, tmp_path / "n.onnx", batch=11))
    assert not other.passed
    assert not other.outputs


@pytest.mark.parametrize("keep", [0, 1, 300])
def test_damaged_files_cannot_be_checked(nets: Pair, tmp_path: Path, keep: int) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"m\.onnx"):
        verify(nets.reference, path)


def test_missing_file(nets: Pair, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        verify(nets.reference, tmp_path / "none.onnx")


def test_given_inputs(nets: Pair, tmp_path: Path) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=inputs(3).numpy())
    check = verify(nets.reference, path, tmp_path / "data.npz", only=True)
    assert check.passed
    assert {leg.inputs for leg in check.outputs["seg"].legs} == {"given 3x3x8x8", "given 1x3x8x8"}
    beside = verify(nets.reference, path, tmp_path / "data.npz").outputs["seg"].legs
    assert {leg.inputs for leg in beside} > {"given 3x3x8x8", "given 1x3x8x8", "random 2x3x8x8"}
    assert verify(nets.reference, path, {"x": inputs(1).numpy()}).passed
    assert verify(nets.reference, path, [inputs(1)]).passed
    assert list(check.outputs) == list(TASKS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([torch.zeros(2, 4, 8, 8)], "does not fit"),
        ([torch.zeros(2, 3, 8)], "does not fit"),
        ([torch.zeros(0, 3, 8, 8)], "does not fit"),
        ([torch.zeros(2, 3, 8, 8)] * 2, "takes 1 inputs"),
        ([torch.zeros(2, 3, 8, 8, dtype=torch.int64)], "type"),
        ([torch.full((2, 3, 8, 8), float("nan"))], "NaN"),
        (7, "give tensors"),
        ([], "give tensors"),
        (["x"], "not an array"),
    ],
)
def test_bad_inputs(nets: Pair, tmp_path: Path, given: object, message: str) -> None:
    path = write_onnx(nets.sliced, tmp_path / "m.onnx")
    with pytest.raises(BadInput, match=message):
        verify(nets.reference, path, given)  # type: ignore[arg-type]


def test_bad_npz(nets: Pair, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(BadInput, match=r"data\.npz"):
        verify(nets.reference, nets.candidate, path)
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadInput, match=r"data\.npz"):
        verify(nets.reference, nets.candidate, path)


def test_first_difference_names_the_layer_by_its_weight(nets: Pair, tmp_path: Path) -> None:
    net = copy.deepcopy(nets.sliced)
    with torch.no_grad():
        net.two.weight[1] *= 1.01
    # Compared with the program that has the same weights by name.
    check = verify(nets.candidate, write_onnx(net, tmp_path / "m.onnx"))
    assert not check.passed
    assert check.first_difference is not None
    assert check.first_difference.startswith("two (tensor two.conv")


def test_first_difference_in_a_file_that_igc_wrote(nets: Pair, tmp_path: Path) -> None:
    from igc.compiler import compilation
    from igc.delivery import export_onnx

    static = compilation(nets.reference).static
    path = tmp_path / "m.onnx"
    export_onnx(static, path)
    assert verify(nets.reference, path).passed
    model = onnx.load(path)
    (weight,) = (i for i in model.graph.initializer if i.name.startswith("own.depth.weight"))
    value = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(value, weight.name))
    onnx.save(model, path)
    check = verify(nets.reference, path)
    assert not check.passed
    assert str(check.first_difference).startswith("own.depth ")
