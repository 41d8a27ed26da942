"""Random damage: refused in one line, or loaded as it was saved."""

import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import refused
from checkpoint_nets import rezipped, same

import igc
from igc.checkpoint import load_program
from igc.checkpoint.data import to_data
from igc.errors import BadCheckpoint


def test_a_flipped_bit_in_a_weight_is_found(good: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(good) as archive:
        entry = archive.getinfo("archive/data/0")
        weights = archive.read(entry)
    data = bytearray(good.read_bytes())
    at = data.index(weights, entry.header_offset)
    data[at] ^= 1
    (tmp_path / "net.pt").write_bytes(data)
    refused(tmp_path / "net.pt", "damaged: Bad CRC-32 for file 'archive/data/0'")


def _tells_the_truth(path: Path, expected: Any, x: torch.Tensor) -> bool:
    """Whether the file loads, and then as what was saved; `BadCheckpoint` is the other way out."""
    start = time.process_time()
    try:
        program = load_program(path)
        network = igc.load(path)
    except BadCheckpoint as error:
        line = str(error)
        assert "\n" not in line and line.isprintable()
        return False
    finally:
        assert time.process_time() - start < 5
    data, values = expected
    assert to_data(program)["nodes"] == data["nodes"]
    assert same(network(x), values)
    return True


@pytest.mark.parametrize("part", range(3))
def test_random_damage_is_refused_or_harmless(part: int, good: Path, tmp_path: Path) -> None:
    """One hundred bit flips, bursts, cuts and swaps each: refused, or loaded as it was saved."""
    generator = torch.Generator().manual_seed(part)
    original = good.read_bytes()
    x = torch.randn(2, 4, generator=generator)
    expected = to_data(load_program(good)), igc.load(good)(x)
    assert _tells_the_truth(good, expected, x)

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    refused_ones = 0
    for round_ in range(100):
        data = bytearray(original)
        at = pick(len(data))
        if round_ % 4 == 0:
            del data[at:]
        elif round_ % 4 == 1:
            data[at] ^= 1 << pick(8)
        elif round_ % 4 == 2:
            for i in range(at, min(at + 1 + pick(64), len(data))):
                data[i] = pick(256)
        else:
            other = pick(len(data))
            data[at : at + 16], data[other : other + 16] = (
                data[other : other + 16], data[at : at + 16],
            )  # fmt: skip
        path = tmp_path / "net.pt"
        path.write_bytes(data)
        refused_ones += not _tells_the_truth(path, expected, x)
    assert refused_ones > 40


def test_random_damage_under_right_checksums_is_refused_or_loads(
    good: Path, tmp_path: Path
) -> None:
    """Damage to the index itself, which no checksum betrays: nothing but `BadCheckpoint` comes."""
    generator = torch.Generator().manual_seed(7)
    with zipfile.ZipFile(good) as archive:
        original = archive.read("archive/data.pkl")

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    refused_ones = 0
    for round_ in range(200):
        data = bytearray(original)
        for _ in range(1 + pick(3)):
            at = pick(len(data))
            if round_ % 3 == 0:
                data[at] ^= 1 << pick(8)
            elif round_ % 3 == 1:
                data[at] = pick(256)
            else:
                del data[at : at + 1 + pick(4)]
        try:
            load_program(rezipped(good, tmp_path / "net.pt", {"data.pkl": bytes(data)}))
        except BadCheckpoint as error:
            refused_ones += str(error).isprintable()
    assert refused_ones > 100
