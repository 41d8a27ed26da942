"""The harness runs and fills its tables. No time is asserted."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.bench_children import Failed, igc_compile, step
from benchmarks.bench_scaling import fit
from benchmarks.bench_timing import interleaved, ratio, spread
from benchmarks.run import FILES, main, memory

NETWORKS = ("gated", "compiled", "dense", "shared", "singles")


def _once(child):
    """`child`, which starts a process: for the same network it is run once, its files copied.

    The network "tiny" is the baseline under another name.
    """
    done = {}

    def run(*given, **options):
        *name, folder = given
        spec = {k: v for k, v in options.get("spec", {}).items() if k != "name"}
        key = repr((name, {**options, "spec": spec}))
        if key not in done:
            done[key] = folder, child(*given, **options)
        elif done[key][0] != folder:
            for file in done[key][0].iterdir():
                if file.is_file() and not (folder / file.name).exists():
                    shutil.copy(file, folder)
        return done[key][1]

    return run


@pytest.mark.slow
def test_a_run_fills_every_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.run.step", _once(step))
    monkeypatch.setattr("benchmarks.run.igc_compile", _once(igc_compile))
    monkeypatch.setattr("benchmarks.bench_scaling.QUICK", ((2, 2), (2, 4)))
    code = main(["--quick", "--only", "tiny", "--only", "scaling", "--repeats", "1",
                 "--out", str(tmp_path)])  # fmt: skip

    assert code == 0
    results = json.loads((tmp_path / "latest.json").read_text())
    (tiny,) = results["networks"]
    assert tiny["verified"] is True
    assert list(tiny["cost"]) == list(NETWORKS)
    macs = {name: cost["macs"] for name, cost in tiny["cost"].items()}
    assert macs["shared"] < macs["compiled"] < macs["gated"]
    assert macs["singles"] < macs["gated"]  # which has the shared branch on top
    assert macs["dense"] == pytest.approx(macs["compiled"], rel=0.25)
    assert all(cost["flops"] == 2 * cost["macs"] for cost in tiny["cost"].values())

    ways = [(timing["runtime"], timing["threads"]) for timing in tiny["timings"]]
    assert ways == [(r, t) for r in ("onnxruntime", "torch") for t in (1, 2)]
    for timing in tiny["timings"]:
        assert set(timing["seconds"]) == set(NETWORKS)
        assert all(found["min"] > 0 for found in timing["seconds"].values())
    assert set(tiny["files"]) == set(FILES) and all(tiny["files"].values())
    assert set(tiny["compile"]["parts"]) == {
        "capture", "passes", "emit", "onnx", "verify static", "verify onnx",
    }  # fmt: skip
    assert set(tiny["memory"]["times"]) == {"command", "compile", "onnx", "torch.onnx.export"}
    scaling = json.loads((tmp_path / "papers.json").read_text())["scaling"]
    assert len(scaling["points"]) == 2

    text = (tmp_path / "latest.md").read_text()
    other = (tmp_path / "papers.md").read_text()
    assert capsys.readouterr().out.strip() == f"{text}\n{other}".strip()
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Cost", "Speed", "Time", "Files", "Compile time", "Peak memory"]
    assert "## Scaling" in other
    rows = [line for line in text.splitlines() if line.startswith("| tiny |")]
    assert len(rows) == 5 + 4 + 4 + 1 + 1 + 1


def test_a_network_that_fails_is_named_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    def step(name, folder, /, **options):
        if options.get("name") == "hrnet18-3":
            raise Failed("out of memory")
        return {"size": (8, 8), "tasks": 2, "gates": 4, "model": 2**20,
                "process": {"cpu_seconds": 1.0}}  # fmt: skip

    def compiled(folder):
        (folder / "command.onnx").write_bytes(b"onnx")
        return {"seconds": 1.0, "cpu_seconds": 1.0, "peak": 2**21}

    monkeypatch.setattr("benchmarks.run.step", step)
    monkeypatch.setattr("benchmarks.run.igc_compile", compiled)
    monkeypatch.setattr("benchmarks.run.baseline", lambda folder: {"command": 0})

    code = main(["--only", "hrnet18-3", "--only", "mobilenetv2-aspp-2", "--out", str(tmp_path)])

    assert code == 1
    assert "bench: not compiled: hrnet18-3" in capsys.readouterr().err
    text = (tmp_path / "papers.md").read_text()
    assert "| hrnet18-3 | **failed** |" in text
    assert "| mobilenetv2-aspp-2 | 2 | 4 | 8x8 |" in text


def test_rounds_interleave_and_rotate():
    order: list[str] = []

    def run(name: str):
        return lambda: (order.append(name), _busy())

    samples = interleaved({"a": run("a"), "b": run("b")}, rounds=2)

    assert {name: len(values) for name, values in samples.items()} == {"a": 2, "b": 2}
    timed = "".join(order[6:])  # after three runs each to warm up
    assert timed == "abba"


def _busy() -> None:
    import time

    time.sleep(0.02)


def test_spread_and_ratio_are_taken_round_by_round():
    assert spread([4.0, 1.0, 2.0, 3.0]) == {
        "median": 2.5, "q1": 1.75, "q3": 3.25, "min": 1.0, "max": 4.0,
    }  # fmt: skip
    assert spread([2.0])["q3"] == 2.0
    assert ratio([2.0, 9.0, 40.0], [1.0, 3.0, 10.0])["median"] == 3.0
    assert ratio([2.0, 9.0, 40.0], [1.0, 3.0, 10.0], 0.5)["max"] == 2.0


def test_the_fit_finds_line_and_power():
    line = fit([1, 2, 4, 8], [5.0, 8.0, 14.0, 26.0])
    assert line["slope"] == pytest.approx(3.0) and line["intercept"] == pytest.approx(2.0)
    assert line["r2"] == pytest.approx(1.0)
    assert fit([1, 2, 4], [3.0, 12.0, 48.0])["power"] == pytest.approx(2.0)


def test_memory_counts_what_exceeds_the_baseline():
    found = memory(100, {"command": 500.0}, {"command": 300.0})
    assert found == {"model": 100, "command": 500.0, "times": {"command": 2.0}}


def test_a_network_that_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "nothing"])
    assert stopped.value.code == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--repeats", "--compiles"])
def test_less_than_one_repeat_is_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([option, "0"])
    assert stopped.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def _canned(name, folder, **options):
    """What each step would find, in round numbers."""
    part = {"seconds": 2.0, "cpu_seconds": 1.0, "peak": 700 * 2**20}
    process = {"seconds": 20.0, "cpu_seconds": 10.0, "peak": 800 * 2**20}
    cost = {"macs": 40, "flops": 80, "params": 8, "bytes": 100 * 2**20}
    if name == "save":
        found = {**cost, "macs": 160, "flops": 320, "open": {"first": 0.5, "second": 0.25}}
    elif name == "compile":
        names = ("build", "capture", "passes", "emit", "onnx", "verify static", "verify onnx")
        found = {**cost, "parts": dict.fromkeys(names, part), "passes": [], "verified": True}
    elif name == "torch-export":
        found = {"parts": {"build": part, "export": {"seconds": 6.0, "cpu_seconds": 4.0}}}
    elif name == "ordinary":
        ordinary = {"dense": {**cost, "macs": 50}, "shared": cost, "singles": cost}
        found = {"width": 5, **ordinary}
        for file in FILES:
            (folder / file).write_bytes(b"x")
    else:
        seconds = {"gated": 4.0, "compiled": 1.0, "dense": 1.0, "shared": 0.5, "singles": 2.0}
        samples = {key: [value] * 3 for key, value in seconds.items()}
        found = {"samples": {"1": samples, "2": samples}}
    return {**found, "process": process}


def test_the_tables_say_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.run.step", _canned)
    monkeypatch.setattr("benchmarks.run.igc_compile", lambda folder: {"peak": 900 * 2**20})

    assert main(["--only", "tiny", "--out", str(tmp_path)]) == 0

    results = json.loads((tmp_path / "latest.json").read_text())
    (tiny,) = results["networks"]
    ratios = {name: found["median"] for name, found in tiny["timings"][0]["ratios"].items()}
    assert ratios == {
        "gated / compiled": 4.0,
        "dense / compiled, per MAC": 0.8,  # the dense one does 50 MACs in the time of 40
        "compiled / shared": 2.0,
        "singles / compiled": 2.0,
    }
    assert tiny["compile"]["ratio"]["median"] == 2.0  # six parts of 2 s over 6 s
    assert tiny["compile"]["cpu_ratio"]["median"] == 1.5
    assert set(tiny["memory"]["times"].values()) == {0.0}
    text = capsys.readouterr().out
    assert "| tiny | onnxruntime | 1 | 4.00 | 4.00 [4.00 .. 4.00] | 0.80 [0.80 .. 0.80] |" in text
    assert "| tiny | 50 % / 25 % | dense, 5 channels |" in text
