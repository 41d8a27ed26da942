"""The table of draws: what is run, what is left out, and that it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from verify_nets import Gated, Pair, inputs

from igc.capture import capture
from igc.errors import BadInput
from igc.program import Program
from igc.verification import draws as chosen
from igc.verification import verify
from igc.verification.draws import draws, main_draws
from igc.verification.inputs import Draw, Signature, of_program
from igc.verification.rows import TABLE

EVERY = len({(row.name, row.batch) for row in TABLE})


def named(found: list[Draw]) -> dict[str, Tensor]:
    return {draw.label: draw.tensors[0] for draw in found}


def rows(signature: Signature) -> list[Draw]:
    return [draw for draw in draws(signature)[0] if draw.once]


def test_every_row_is_drawn_small_odd_and_once(nets: Pair) -> None:
    signature = of_program(nets.reference)
    found = named(rows(signature))
    assert len(found) == EVERY + 1
    assert found.pop("random 1x3x16x16").shape == (1, 3, 16, 16)  # twice the example
    assert {tuple(x.shape[1:]) for x in found.values()} == {(3, 9, 11)}
    assert {len(x) for x in found.values()} == set(range(1, 10))


def test_values_are_what_they_are_called(nets: Pair) -> None:
    found = named(rows(of_program(nets.reference)))
    at = {label.rpartition(" ")[0]: x for label, x in found.items()}
    assert float(at["raw pixels"].max()) > 240
    assert torch.equal(at["raw pixels"], at["raw pixels"].round())
    whole = at["whole 255ths"] * 255
    assert 0.9 < float(at["whole 255ths"].max()) <= 1.0
    assert torch.allclose(whole, whole.round(), atol=1e-4)
    assert float(at["positive"].min()) >= 0.1
    assert float(at["negative"].max()) <= -0.1
    assert not at["zeros"].any()
    assert len(at["constant"].unique()) == 1
    assert at["one pixel"].flatten(1).sum(1).tolist() == [1.0, 1.0]
    assert torch.equal(at["equal samples"][0], at["equal samples"][2])
    for what, holds in (("NaN", torch.isnan), ("infinity", torch.isinf)):
        bad = holds(at[f"{what} in one sample"]).flatten(1)
        assert bad.all(1).tolist() == bad.any(1).tolist() == [False, True, False]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).sum(1)


def test_indices_have_rows_that_fit_and_no_others() -> None:
    signature = of_program(capture(Words(), torch.zeros(2, 5, dtype=torch.int64)))
    found = rows(signature)
    at = {draw.label.rpartition(" ")[0]: draw.tensors[0] for draw in found}
    assert set(at) == {"random", "constant", "zeros", "equal samples"}
    assert at["constant"].unique().tolist() == [6]
    assert {len(draw.tensors[0]) for draw in found} == set(range(1, 10))
    assert all(0 <= int(x.min()) <= int(x.max()) < 7 for x in at.values())


def test_half_precision_is_spared_what_overflows() -> None:
    program = capture(Gated().half().eval(), inputs(dtype=torch.float16))
    labels = " ".join(named(rows(of_program(program))))
    assert "raw pixels" not in labels
    assert "whole 255ths" in labels


def test_fixed_sizes_are_told(nets: Pair) -> None:
    signature = of_program(nets.reference)
    spec = replace(signature.inputs[0], dims=(2, 3, 8, 8))
    fixed = replace(signature, inputs=(spec,), sizes={}, tiny={}, twice={}, other={})
    found, notes = draws(fixed)
    assert {x.shape for x in named(found).values()} == {(2, 3, 8, 8)}
    assert any("batch size is fixed" in n for n in notes)
    assert any("other image sizes were not run" in n for n in notes)
    assert not [n for n in draws(signature)[1] if "fixed" in n]


def test_costly_networks_are_run_on_less_and_it_is_said(
    nets: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "AT_LEAST", 0)
    monkeypatch.setattr(chosen, "BUDGET", 0)
    signature = replace(of_program(nets.reference), tiny={}, macs=1000)
    found, notes = draws(signature)
    cheap = [draw for draw in found if draw.once]
    assert [len(draw.tensors[0]) for draw in cheap] == [1, 1, 1]
    assert cheap[0].label == "whole 255ths 1x3x8x8"
    (note,) = (n for n in notes if "takes long" in n)
    assert "random 9x3x8x8" in note
    assert "random 1x3x16x16" in note
    (heavy,) = (d for d in draws(replace(signature, heavy=True))[0] if d.once)
    assert heavy.label == cheap[0].label
    full, notes = draws(replace(signature, full=True))
    assert len(full) == 3 + EVERY + 1
    assert not notes


def test_the_user_s_inputs_come_beside_the_others_or_alone(nets: Pair) -> None:
    signature = of_program(nets.reference)
    alone, _ = draws(signature, inputs(3), only=True)
    assert [draw.label for draw in alone] == ["given 3x3x8x8", "given 1x3x8x8"]
    beside, _ = draws(signature, inputs(3))
    assert [d.label for d in beside] == [d.label for d in (*alone, *draws(signature)[0])]
    assert all(draw.optional for draw in beside[2:])
    assert not main_draws(signature)[0].optional
    with pytest.raises(BadInput, match="none are given"):
        verify(nets.reference, nets.reference, only=True)


class Mixing(nn.Module):
    """Centres by the whole batch."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"own": F.relu(x).mean((2, 3)), "mixed": (x - x.mean()).mean((2, 3))}


def test_outputs_that_mix_samples_are_left_out_where_one_is_broken() -> None:
    program: Program = capture(Mixing(), inputs())
    check = verify(program, program)
    assert check.passed
    for what in ("NaN", "infinity"):
        notes = [n for n in check.notes if f"{what} in one sample" in n]
        assert len(notes) == 1
        assert "'mixed'" in notes[0]
        assert "mixes samples" in notes[0]
