"""The results as Markdown: one table per question, every figure from the JSON beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Results = dict[str, Any]

RATIOS = {
    "gated / compiled": "times faster than the gated network",
    "dense / compiled, per MAC": "speed against a dense network; 1.00 is the FLOP limit",
    "compiled / shared": "time against uniform sharing",
    "singles / compiled": "times faster than single-task networks",
}
PARTS = ("capture", "passes", "emit", "onnx", "verify static", "verify onnx")


def markdown(results: Results) -> str:
    """The whole report."""
    networks: list[Results] = results["networks"]
    machine = results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"{machine['processor']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        + f"; {results['settings']['rounds']} interleaved rounds, batch 1"
        + ("; **quick run: too few rounds to quote**" if results["settings"]["quick"] else "")
        + ".",
        "",
    ]
    if networks:
        lines += [*_costs(networks), *_speed(networks), *_milliseconds(networks)]
        lines += [*_files(networks), *_compile(networks), *_memory(networks, results["baseline"])]
    if results["papers"]:
        lines += _papers(results["papers"])
    if results["scaling"]:
        lines += _scaling(results["scaling"])
    return "\n".join(lines).rstrip() + "\n"


def _costs(networks: Sequence[Results]) -> list[str]:
    head = ["network", "open gates", "", "MACs", "FLOPs", "parameters", "MACs of gated"]
    rows = []
    for net in networks:
        whole = net["cost"]["gated"]["macs"]
        for name, cost in net["cost"].items():
            rows.append([
                net["name"], _open(net), _label(net, name), f"{cost['macs'] / 1e6:,.1f} M",
                f"{cost['flops'] / 1e6:,.1f} M", f"{cost['params'] / 1e6:,.3f} M",
                f"{100 * cost['macs'] / whole:.1f} %",
            ])  # fmt: skip
    return _section("Cost", "On one picture. FLOPs are 2 x MACs.", head, rows)


def _speed(networks: Sequence[Results]) -> list[str]:
    head = ["network", "runtime", "threads", "MACs: gated / compiled", *RATIOS]
    rows = []
    for net in networks:
        cost = net["cost"]
        limit = cost["gated"]["macs"] / cost["compiled"]["macs"]
        for timing in net["timings"]:
            cells = [_spread(timing["ratios"][name]) for name in RATIOS]
            place = [net["name"], timing["runtime"], str(timing["threads"]), f"{limit:.2f}"]
            rows.append(place + cells)
    meaning = "; ".join(f"*{name}*: {text}" for name, text in RATIOS.items())
    text = f"Median of the rounds' ratios [quartiles]. {meaning}."
    return _section("Speed", text, head, rows)


def _milliseconds(networks: Sequence[Results]) -> list[str]:
    names = list(networks[0]["timings"][0]["seconds"])
    rows = [
        [net["name"], timing["runtime"], str(timing["threads"])]
        + [_milli(timing["seconds"][name]) for name in names]
        for net in networks
        for timing in net["timings"]
    ]
    text = "Milliseconds per picture, median [min .. max]."
    return _section("Time", text, ["network", "runtime", "threads", *names], rows)


def _files(networks: Sequence[Results]) -> list[str]:
    names = list(networks[0]["files"])
    rows = [[net["name"], *(f"{net['files'][n] / 2**20:.2f}" for n in names)] for net in networks]
    text = "MiB. gated.onnx is what `torch.onnx.export` makes of the gated network."
    return _section("Files", text, ["network", *names], rows)


def _compile(networks: Sequence[Results]) -> list[str]:
    head = ["network", *PARTS, "all parts", "torch.onnx.export", "ratio", "ratio in CPU time"]
    rows = []
    for net in networks:
        times = net["compile"]
        cells = [_seconds(times["parts"][part]) for part in PARTS]
        both = [_seconds(times["igc"]), _seconds(times["torch.onnx.export"])]
        ratios = [_spread(times["ratio"]), _spread(times["cpu_ratio"])]
        rows.append([net["name"], *cells, *both, *ratios])
    text = (
        "Seconds, each run in a fresh process. *ratio*: all parts, both verifications included, "
        "over `torch.onnx.export(gated, dynamo=True)` alone. CPU time counts all threads; "
        "it says more where the machine is not quiet."
    )
    return _section("Compile time", text, head, rows)


def _memory(networks: Sequence[Results], baseline: Results) -> list[str]:
    head = ["network", "gated model", "`igc compile`", "times the model", "after compile()",
            "times", "after export_onnx()", "times", "torch.onnx.export", "times"]  # fmt: skip
    rows = []
    for net in networks:
        memory = net["memory"]
        cells = [net["name"], f"{memory['model'] / 2**20:.1f}"]
        for name in ("command", "compile", "onnx", "torch.onnx.export"):
            cells += [f"{memory[name] / 2**20:.0f}", f"{memory['times'][name]:.2f}"]
        rows.append(cells)
    text = (
        "MiB at the peak of a fresh process. *times* is what exceeds the same process on a tiny "
        f"network (`igc compile`: {baseline['command'] / 2**20:.0f} MiB, the runtime's own), "
        "over the bytes of the gated model. `igc compile` includes verification, which runs both "
        "networks in float64 on several inputs."
    )
    return _section("Peak memory", text, head, rows)


def _papers(papers: Sequence[Results]) -> list[str]:
    rows = [
        [p["name"], str(p["tasks"]), str(p["gates"]), "x".join(map(str, p["size"])),
         f"{p['model'] / 2**20:.0f}", f"{p['onnx'] / 2**20:.0f}",
         f"{p['capture']:.0f}", f"{p['seconds']:.0f}",
         f"{p['cpu_seconds']:.0f}", f"{p['peak'] / 2**20:.0f}", f"{p['times']:.1f}"]
        for p in papers
        if "failed" not in p
    ]  # fmt: skip
    rows += [[p["name"], "**failed**", *[""] * 9] for p in papers if "failed" in p]
    text = (
        "`igc compile` as a whole: passes, ONNX, both verifications, report. *Capture*: CPU "
        "seconds of building the network and `igc.save`, most of them `torch.export`. Random "
        "weights, 30 % of the gates open. MiB; *times the model*: peak memory, less that of the "
        "same process on a tiny network, over the gated checkpoint."
    )
    head = ["network", "tasks", "gates", "image", "gated.pt", "ONNX", "capture", "seconds",
            "CPU seconds", "peak memory", "times the model"]  # fmt: skip
    return _section("The papers' networks", text, head, rows)


def _scaling(scaling: Results) -> list[str]:
    most = max(p["cpu_seconds"] for p in scaling["points"])
    rows = [
        [str(p["tasks"]), str(p["layers"]), str(p["tasks"] * p["layers"]), str(p["nodes"]),
         f"{p['seconds']:.2f}", f"{p['cpu_seconds']:.2f}", f"{p['predicted']:.2f}",
         "█" * round(40 * p["cpu_seconds"] / most)]
        for p in scaling["points"]
    ]  # fmt: skip
    fit = scaling["fit"]
    text = (
        f"Capture, passes, emit and ONNX of a stack of gated convolutions. CPU seconds = "
        f"{fit['intercept']:.2f} + {1000 * fit['slope']:.2f} ms x layers x tasks "
        f"(R^2 = {fit['r2']:.3f}); power of layers x tasks: {fit['power']:.2f} (1 is linear)."
    )
    if scaling["left_out"]:
        text += f" Left out, for time: {scaling['left_out']}."
    head = ["tasks", "layers", "layers x tasks", "nodes", "seconds", "CPU seconds", "fit", ""]
    return _section("Scaling", text, head, rows)


def _section(
    title: str, text: str, head: Sequence[str], rows: Iterable[Sequence[str]]
) -> list[str]:
    table = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return [f"## {title}", "", text, "", *table, ""]


def _open(net: Results) -> str:
    return " / ".join(f"{100 * share:.0f} %" for share in net["open"].values())


def _label(net: Results, name: str) -> str:
    return f"dense, {net['width']} channels" if name == "dense" else name


def _spread(value: Results) -> str:
    return f"{value['median']:.2f} [{value['q1']:.2f} .. {value['q3']:.2f}]"


def _milli(value: Results) -> str:
    median, low, high = (1000 * value[key] for key in ("median", "min", "max"))
    return f"{median:.3g} [{low:.3g} .. {high:.3g}]"


def _seconds(value: Results) -> str:
    return f"{value['median']:.2f}"
