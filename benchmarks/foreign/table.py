"""Results as a verdict each, and as a Markdown table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]

UNREACHED = "the run ended before its turn"
STILL = 1e-4  # outputs that move less from input to input say little when they agree
UNBUILT = ("start", "build")  # stages before igc sees the network


def unreached(key: str, at: str) -> dict[str, Any]:
    """The row of a network that is on the list and was not tried yet."""
    return {"key": key, "at": at, "note": "", "limit": UNREACHED}


def verdict(found: Found) -> str:
    """One of: works and minimal; works, ... (what is kept, or not judged); refused; wrong; not run.

    "Not run" is what this machine or the library did not let us try, never what igc refused.
    """
    error, stage = found.get("error", ""), found.get("stage", "start")
    if stage == "agree" and error.startswith("AssertionError"):
        return f"wrong: {error}"
    if found.get("failures"):
        return f"wrong: {found['failures'][0]}"
    if error:
        return f"not run: {error}" if stage in UNBUILT else f"refused: {error} (at {stage})"
    limit = found.get("limit", "")
    if limit and "error64" not in found:
        return f"not run: {limit} (at {stage})"
    notes = []
    if found.get("sway", 1) < STILL:
        notes.append(f"weakly shown: outputs move by {found['sway']:.0e} of their size")
    opaque = sorted({r["op"] for r in found["remarks"] if r["kind"] == "opaque"})
    if opaque:
        notes.append(f"opaque ops: {', '.join(opaque)}")
    if limit and stage == "onnx":
        notes.append(f"ONNX not run: {limit}")
    if "needed" not in found:
        notes.append("minimum not judged" + (f": {limit}" if limit else ""))
    elif found["held"] > found["needed"]:
        share = 100 * (found["held"] / max(found["needed"], 1) - 1)
        notes.append(f"{share:.2g} % over the minimum ({_why(found)})")
    if found.get("route") not in (None, "direct"):
        notes.append(f"ONNX by torch: {found['reason']}")
    return f"works, {'; '.join(notes)}" if notes else "works and minimal"


def _why(found: Found) -> str:
    """What igc says of elements that it keeps and the gradient does not need."""
    groups = any("groups keep equal widths" in r["reason"] for r in found["remarks"])
    again = found.get("repeated", 0)
    reasons = ["grouped convolutions keep equal widths"] if groups else []
    if again and not groups and found["held"] - again > found["needed"]:
        reasons.append("unexplained")
    if again:
        reasons.append("weights used in several places are cut for each use")
    return ", ".join(reasons) or "unexplained"


def kind(found: Found) -> str:
    """The verdict without its particulars."""
    return verdict(found).partition(":")[0].partition(",")[0]


def markdown(results: Mapping[str, Found]) -> str:
    """Counts, one row per network and kind of gating, and the list of those not tried yet."""
    rows = [results[key] for key in sorted(results)]
    lines = ["# Third-party networks", ""]
    for count_of, count in Counter(kind(f) for f in rows).most_common():
        lines.append(f"- {count_of}: {count}")
    lines += [
        "",
        "| network | gates at | picture | points | weights needed | held | error | ONNX | igc "
        "| verdict |",
        "|---|---|---:|---:|---:|---:|---:|---|---|---|",
    ]
    for f in rows:
        if f.get("limit") == UNREACHED:
            continue
        cells = [
            f["key"] + (f" ({f['note']})" if f["note"] else ""),
            f["at"],
            f.get("size", ""),
            f.get("points", ""),
            f.get("needed", ""),
            f.get("held", ""),
            f"{f['error64']:.0e}" if "error64" in f else "",
            "verified" if f.get("onnx") else "",
            f.get("igc", ""),
            " ".join(verdict(f).split()).replace("|", "\\|"),
        ]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    waiting = [f"{f['key']} ({f['at']})" for f in rows if f.get("limit") == UNREACHED]
    if waiting:
        lines += ["", f"Not run, {UNREACHED}: {', '.join(waiting)}."]
    return "\n".join(lines) + "\n"
