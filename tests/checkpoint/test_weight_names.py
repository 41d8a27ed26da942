"""The names and keys that people's weight files have, and how they are made the network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel

from igc.checkpoint import load_into, read_state_dict
from igc.checkpoint.choice import USUAL
from igc.checkpoint.names import Fit, fitting_part, unwrapped
from igc.checkpoint.weights import read_weights
from igc.errors import BadCheckpoint

State = dict[str, Tensor]


def net(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, width, 1), nn.BatchNorm2d(width))


def filled(module: nn.Module, number: float) -> State:
    return {k: torch.full_like(v, number) for k, v in module.state_dict().items()}


def headed(state: State, head: str) -> State:
    return {head + name: tensor for name, tensor in state.items()}


def loaded(content: Any, folder: Path, key: str | None = None) -> tuple[float, tuple[str, ...]]:
    """What the weights are filled with after loading, and the notes."""
    torch.save(content, folder / "w.pt")
    target = net()
    notes = load_into(target, folder / "w.pt", key)
    (number,) = {float(v.double().mean()) for v in target.state_dict().values()}
    return number, notes


@pytest.mark.parametrize(
    "head",
    ["model.", "net.", "backbone.", "module.", "_orig_mod.", "student.", "module._orig_mod.",
     "_orig_mod.module.", "model.backbone.", "model._orig_mod.", "module.module."],
)  # fmt: skip
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_one_beginning_that_all_names_share_is_dropped(
    head: str, key: str | None, tmp_path: Path
) -> None:
    state = headed(filled(net(), 7), head)
    assert loaded(state if key is None else {key: state}, tmp_path) == (7, ())


def test_a_beginning_that_the_network_has_too_stays(tmp_path: Path) -> None:
    wrapped = nn.ModuleDict({"net": net()})
    torch.save(filled(wrapped, 2), tmp_path / "w.pt")
    load_into(wrapped, tmp_path / "w.pt")
    assert wrapped["net"][0].weight.eq(2).all()
    torch.save(filled(net(), 3), tmp_path / "bare.pt")
    load_into(wrapped, tmp_path / "bare.pt")
    assert wrapped["net"][0].weight.eq(3).all()


def test_a_part_that_was_compiled_alone_is_found(tmp_path: Path) -> None:
    state = {k.replace("0.", "0._orig_mod.", 1): v for k, v in filled(net(), 5).items()}
    assert next(iter(state)) == "0._orig_mod.weight"
    assert loaded(state, tmp_path) == (5, ())


def test_averaged_models_are_read(tmp_path: Path) -> None:
    averaged = AveragedModel(net())
    torch.save(averaged.state_dict(), tmp_path / "w.pt")
    target = net()
    assert load_into(target, tmp_path / "w.pt") == ()
    assert torch.equal(target[0].weight, averaged.module[0].weight)


def test_names_that_would_become_one_stay() -> None:
    twice = {"a.w": 1, "a._orig_mod.w": 2}
    assert unwrapped(twice) == twice
    assert Fit(["a.x", "a.y"], ["b.x", "b.y"]).tensor("a.x") == "a.x"  # two beginnings are no one


def test_long_chains_of_wrappers_cost_no_time() -> None:
    name = "module." * 100_000 + "w"
    assert next(iter(unwrapped({name: 1}))).startswith("module.")
    assert Fit([name], ["w"]).tensor(name) == name


@pytest.mark.parametrize("key", USUAL)
def test_every_usual_key_is_looked_into(key: str, tmp_path: Path) -> None:
    assert loaded({"epoch": 1, key: filled(net(), 4)}, tmp_path) == (4, ())
    assert loaded({key: {"state_dict": filled(net(), 6)}}, tmp_path) == (6, ())


@pytest.mark.parametrize("raw", ["state_dict", "model", "params", "generator"])
@pytest.mark.parametrize("ema", ["ema", "model_ema", "params_ema"])
def test_which_of_raw_and_averaged_weights_is_taken_is_said(
    raw: str, ema: str, tmp_path: Path
) -> None:
    both = {ema: headed(filled(net(), 2), "module."), raw: filled(net(), 1)}
    number, (note,) = loaded(both, tmp_path)
    assert number == 1 and note == f"'{raw}' is taken, not '{ema}'; --key chooses another"
    assert loaded(both, tmp_path, ema) == (2, ())
    assert loaded(both, tmp_path, raw) == (1, ())


def test_a_key_may_be_a_path_or_a_beginning(tmp_path: Path) -> None:
    state = {**headed(filled(net(), 1), "student."), **headed(filled(net(), 2), "teacher.net.")}
    content = {"state_dict": state, "runs": {"best": {"model": filled(net(), 3)}}}
    assert loaded(content, tmp_path, "student")[0] == 1
    assert loaded(content, tmp_path, "state_dict.teacher")[0] == 2
    assert loaded(content, tmp_path, "teacher.net")[0] == 2
    assert loaded(content, tmp_path, "runs.best")[0] == 3
    save_file(state, tmp_path / "w.safetensors")
    assert read_state_dict(tmp_path / "w.safetensors", "student")["0.weight"].eq(1).all()
    with pytest.raises(BadCheckpoint, match=r"begin with student\. fit: choose"):
        loaded(content, tmp_path)


@pytest.mark.parametrize(
    ("content", "key", "said"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, "b", "has no 'b'; it holds 'state_dict'"),
        ({"epoch": 3, "state_dict": {"a": torch.ones(1)}}, "epoch", "'epoch' is a int"),
        ({"d": {"a": torch.ones(1)}, "g": {"a": torch.ones(1)}}, None,
         "tensors lie under 'd', 'g': choose with --key d$"),
        ({"d": {"a": 1}}, "d", "'a' is a int, expected a tensor"),
        ({"optimizer": {1: 2}}, None, "'optimizer' is a dict, expected a tensor"),
    ],
)  # fmt: skip
def test_a_wrong_choice_says_what_there_is(
    content: Any, key: str | None, said: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match=said) as caught:
        read_state_dict(tmp_path / "w.pt", key)
    assert "\n" not in str(caught.value)


def test_numbers_beside_the_tensors_are_left_out_and_noted(tmp_path: Path) -> None:
    number, notes = loaded({**filled(net(), 9), "epoch": 3, "name": "x"}, tmp_path)
    assert (number, notes) == (9, ("left out, being no tensors: 'epoch', 'name'",))


def test_float16_is_widened_exactly(tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in net().state_dict().items()}
    for name, save in (("w.pt", torch.save), ("w.safetensors", save_file)):
        save(state, tmp_path / name)
        target = net()
        load_into(target, tmp_path / name)
        assert target[0].weight.dtype is torch.float32
        assert torch.equal(target[0].weight, state["0.weight"].float())


def with_metadata(module: nn.Module) -> Any:
    return module.state_dict()


def without_metadata(module: nn.Module) -> State:
    return dict(module.state_dict())


@pytest.mark.parametrize("how", [with_metadata, without_metadata])
@pytest.mark.parametrize("head", ["", "module.", "model."])
def test_batch_norms_without_their_count_are_taken(
    how: Callable[[nn.Module], Any], head: str, tmp_path: Path
) -> None:
    source, target = net(), net()
    source[1].running_mean.fill_(3)
    state = how(source)
    del state["1.num_batches_tracked"]
    torch.save(headed(state, head) if head else state, tmp_path / "w.pt")
    assert load_into(target, tmp_path / "w.pt") == ()
    assert target[1].running_mean.eq(3).all() and target[1].num_batches_tracked == 0


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("head", ["", "model.", "_orig_mod."])
def test_older_weight_norms_are_taken_as_torch_takes_them(head: str, tmp_path: Path) -> None:
    older = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    newer = nn.Sequential(weight_norm(nn.Linear(3, 2)))
    newer.load_state_dict(older.state_dict(), strict=True)
    wanted = {k: v.clone() for k, v in newer.state_dict().items()}
    for tensor in newer.parameters():
        tensor.data.zero_()
    state = headed(older.state_dict(), head)
    assert "weight_g" in "".join(state)
    torch.save(state, tmp_path / "w.pt")
    load_into(newer, tmp_path / "w.pt")
    assert all(torch.equal(newer.state_dict()[k], v) for k, v in wanted.items())


class Versioned(nn.Module):
    """Takes weights of its second version alone, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def _load_from_state_dict(self, state: Any, prefix: str, local: Any, *rest: Any) -> None:
        if local.get("version") != 2:
            raise ValueError("which version?")
        super()._load_from_state_dict(state, prefix, local, *rest)


@pytest.mark.parametrize("head", ["", "module.", "model."])
def test_versions_of_layers_reach_them(head: str, tmp_path: Path) -> None:
    state = nn.Sequential(Versioned()).state_dict()
    moved = type(state)(headed(state, head))
    moved._metadata = {"": {"version": 1}} | {
        f"{head}{path}".rstrip("."): held for path, held in state._metadata.items()
    }
    moved[f"{head}0.w"].fill_(3)
    torch.save(moved, tmp_path / "w.pt")
    target = nn.Sequential(Versioned())
    load_into(target, tmp_path / "w.pt")
    assert target[0].w.eq(3).all()
    torch.save(dict(moved), tmp_path / "w.pt")
    with pytest.raises(BadCheckpoint, match="does not fit Sequential: which version"):
        load_into(target, tmp_path / "w.pt")


def test_what_does_not_fit_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    state = filled(net(), 1)
    del state["1.running_var"]
    torch.save(headed(state, "model."), tmp_path / "w.pt")
    target = net()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(BadCheckpoint, match=r"Sequential: 1 missing: 1\.running_var$"):
        load_into(target, tmp_path / "w.pt")
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())


def test_a_part_fits_where_it_has_every_name() -> None:
    assert fitting_part(["a.w", "a.b", "b.w"], ["w", "b"]) == "a"
    assert fitting_part(["a.w", "b.b"], ["w", "b"]) is None


def test_metadata_of_a_strangers_making_is_left_out(tmp_path: Path) -> None:
    state = net().state_dict()
    state._metadata = {"": {"version": "x"}, "0": 3, 4: {"version": 1}, "1": {"version": 2, "a": 1}}
    torch.save(state, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").versions == {"1": {"version": 2}}
